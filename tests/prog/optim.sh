#!/usr/bin/env bash
# optim.sh: every optimizer and adversarial training learn, give the same bits for any number of threads and after a
# resumption, and its gradients agree with differences; one layer is trained alone; weights of a
# network whose last layer differs are taken over with --skip.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

spec() { # NAME, lines of the train section
    cat >"$1.net" <<END
net ${1^} {
  input image: f32[1, 28, 28]
  input digit: class[10]
  c: conv(4, 5x5, stride = 2) -> relu
  f: dense(${3:-10})
  ${4:-}
  output prob = softmax(${5:-f})
  loss ce: cross_entropy(${5:-f}, digit)
  metric err: error_rate(argmax(${5:-f}), digit)
  data { train = digits(300) }
  train { batch = 25; epochs = 3; $2 }
}
END
    run 0 -- netc build -q "$1.net"
}

w=last.safetensors
while IFS='|' read -r name settings; do
    spec "$name" "$settings"
    run 0 -- "./$name" train -q --threads=1 --out="$name.a"
    run 0 -- "./$name" train -q --threads=3 --out="$name.b"
    same "$name: threads" "$name.a/$w" "$name.b/$w"
    run 0 -- "./$name" train -q --steps=17 --out="$name.c"
    run 0 -- "./$name" train -q --resume --out="$name.c"
    same "$name: resumed" "$name.a/$w" "$name.c/$w"
    hold "$name: the loss falls" awk -F, '$1 == "train" { if (!n++) f = $5; l = $5 }
        END { exit !(l < 0.8 * f) }' "$name.a/log.csv"
    run 0 -- "./$name" gradcheck
done <<'END'
nesterov|optimizer = sgd(0.03, momentum = 0.9, nesterov = yes, decay = 1e-4)
adam|optimizer = adam(3e-3); schedule = cosine()
adamw|optimizer = adamw(3e-3, decay = 0.1); warmup = 1epoch
rmsprop|optimizer = rmsprop(1e-3, alpha = 0.9, momentum = 0.5); clip = value(0.5)
norm|optimizer = adam(3e-3); clip = norm(1); schedule = poly(0.9, last = 0.1)
sdlm|optimizer = sdlm(3e-3, samples = 60, decay = 1e-4); no_decay = "*.bias"
split|optimizer = dessilbi(0.05, nu = 10, lambda = 2e-3, momentum = 0.9)
filters|optimizer = dessilbi(0.05, nu = 10, lambda = 0.004, kappa = 1.5, filters = yes)
pgd|optimizer = adam(3e-3); adversarial = pgd(0.05, steps = 3)
trades|optimizer = adam(3e-3); adversarial = trades(0.05, beta = 2, steps = 3)
END

# --- attacks: figures of both kinds, of any classifier, the same for any number of threads ---
hold "the log has clean figures" grep -q '^clean,' pgd.a/log.csv
hold "the log has attacked figures" grep -q '^attacked,' trades.a/log.csv
for net in pgd adam; do
    run 0 -- ./$net eval --out=$net.a --attack=pgd --eps=0.1 --steps=4 --json --threads=1
    mv stdout $net.json
    run 0 -- ./$net eval --out=$net.a --attack=pgd --eps=0.1 --steps=4 --json --threads=3
    same "$net: attacked by threads" stdout $net.json
done
hold "attacks do harm, less where they were expected" python3 - <<'END'
import json
pgd, adam = (json.load(open(f"{n}.json"))["attack"] for n in ("pgd", "adam"))
for a in pgd, adam:
    assert a["error"] > a["clean_error"] and a["images"] > 0 and abs(a["step"] - 0.0625) < 1e-9, a
assert pgd["loss"] < adam["loss"] and pgd["error"] <= adam["error"], (pgd, adam)
END
run 2 'shares of the pixel range' -- ./pgd eval --out=pgd.a --attack=pgd --eps=8
seq 1 40 | awk '{ printf "%d", $1 % 10; for (i = 0; i < 784; i++) printf ",%d", (i * $1) % 7; print "" }' >rows.csv
run 4 'numbers, and eps' -- ./pgd train --data=rows.csv --out=pgd.n
run 4 'holds numbers' -- ./pgd eval --data=rows.csv --out=pgd.a --attack=pgd

# --- the sparse copy: what is left are weights of last, the share is the one that is said ---
run 0 'nonzero' -- ./split train --json --out=split.d
hold "sparse weights" python3 - "$(cat stdout)" <<'END'
import json, struct, sys
def tensors(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8:8 + n])
    return {k: struct.unpack(f"<{(v['data_offsets'][1] - v['data_offsets'][0]) // 4}f",
                             raw[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]])
            for k, v in head.items() if k != "__metadata__" and v["dtype"] == "F32"}
last, sparse, state = (tensors(f"split.d/{f}.safetensors") for f in ("last", "sparse", "checkpoint"))
kept = total = 0
for name, w in last.items():
    z = state["split_z." + name]
    if name.endswith("bias"):
        assert w == sparse[name] and not any(z)
        continue
    assert sparse[name] == tuple(a if abs(b) > 2e-3 else 0 for a, b in zip(w, z)), name
    kept += sum(abs(b) > 2e-3 for b in z)
    total += len(z)
said = json.loads(sys.argv[1])["nonzero"]
assert abs(said - kept / total) < 1e-6 and 0.05 < said < 0.95, (said, kept / total)
END

# --- over filters: gamma is what the whole of a filter's z makes; z follows the gap; whole filters stay ---
run 0 -- ./filters train -q --steps=20 --out=f20
run 0 -- ./filters train -q --steps=21 --out=f21
hold "filters" python3 - <<'END'
import json, math, struct
def tensors(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8:8 + n])
    return {k: (v["shape"], struct.unpack(f"<{(v['data_offsets'][1] - v['data_offsets'][0]) // 4}f",
                raw[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]))
            for k, v in head.items() if k != "__metadata__" and v["dtype"] == "F32"}
a, b = tensors("f20/checkpoint.safetensors"), tensors("f21/checkpoint.safetensors")
sparse = tensors("f21/sparse.safetensors")
near = lambda x, y: abs(x - y) <= 1e-6 + 1e-5 * abs(y)
seen = set()
for name in ("c.weight", "f.weight"):
    shape, z = b["split_z." + name]
    size = len(z) // shape[0] if len(shape) == 4 else 1
    for g in range(0, len(z), size):
        part, norm = z[g:g + size], math.sqrt(sum(x * x for x in z[g:g + size]))
        least = 0.004 * math.sqrt(size)
        by = 1.5 * (1 - least / norm) if norm > least else 0
        assert all(near(y, by * x) for x, y in zip(part, b["split_gamma." + name][1][g:g + size])), name
        assert sparse[name][1][g:g + size] == (b[name][1][g:g + size] if by else (0,) * size), name
        seen.add((name, by > 0))
    for z0, z1, w, gamma in zip(a["split_z." + name][1], z, a[name][1], a["split_gamma." + name][1]):
        assert near(z1, z0 + 0.05 / 10 * (w - gamma)), name
assert ("c.weight", True) in seen and len(seen) >= 3, seen
END

# --- one layer alone: everything else keeps its bits ---
spec whole 'optimizer = sgd(0.03)'
spec one 'optimizer = adam(3e-3); only = "f"'
run 0 -- ./whole train -q --out=whole.a
run 0 -- ./one train -q --weights=whole.a/$w --out=one.a
hold "the state is that of the trained layer" \
    [ "$(grep -ao 'exp_avg_sq\.[a-z.]*' one.a/checkpoint.safetensors | sort -u | wc -l)" -eq 2 ]
hold "of no other" [ "$(grep -aoc 'exp_avg\.c\.' one.a/checkpoint.safetensors)" -eq 0 ]

# --- another last layer ---
spec other 'optimizer = sgd(0.03); only = "f"' 20 'g: dense(10)' g
run 4 'another shape' -- ./other train -q --weights=whole.a/$w --out=o
run 4 'missing' -- ./other train -q --weights=whole.a/$w '--skip=f.*' --out=o
run 0 -- ./other train -q --weights=whole.a/$w '--skip=f.*,g.*' --out=o
run 4 'match' -- ./other train -q --weights=whole.a/$w '--skip=*' --out=o

# --- weights named by the spec: renamed, left out, in part; nothing of it when the run goes on ---
spec load "optimizer = sdlm(3e-3, samples = 60)
  load = weights(\"whole.a/$w\", map = \"c.* -> d.*\", skip = \"g.*\")" 10 'g: dense(10)' g
sed -i 's/ c: conv/ d: conv/' load.net
run 0 -- netc build -q load.net
run 0 -- ./load train -q --epochs=0 --out=load.a
hold "renamed" python3 - <<END
import json, struct
def tensors(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8:8 + n])
    return {k: raw[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]
            for k, v in head.items() if k != "__metadata__"}
a, b = tensors("whole.a/$w"), tensors("load.a/$w")
assert a["c.weight"] == b["d.weight"] and a["c.bias"] == b["d.bias"] and a["f.weight"] == b["f.weight"]
END
run 0 -- ./load train -q --steps=7 --out=load.b
rm whole.a/$w
run 5 'whole.a' -- ./load train -q --out=load.c
run 0 -- ./load train -q --resume --out=load.b
run 5 -- ./load train -q --weights=nothing --map='x -> y' --out=load.c
finish
