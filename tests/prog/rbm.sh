#!/usr/bin/env bash
# rbm.sh: convolutions learn without labels: the reconstruction gets better, the same bits come of any
# number of threads, other layers keep their weights, training goes on with the result; what cannot be
# is refused.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

cat >b.net <<'END'
net B {
  input image: f32[1, 28, 28]
  input digit: class[10]
  c1: conv(6, 7x7) -> sigmoid -> maxpool(2x2)
  c2: conv(5, 4x4) -> sigmoid -> maxpool(2x2)
  f: dense(10)
  output prob = softmax(f)
  loss ce: cross_entropy(f, digit)
  metric err: error_rate(argmax(f), digit)
  data { train = digits(150); mean = 0.13; std = 0.31 }
  train { batch = 25; epochs = 1; optimizer = adam(2e-3) }
}
END
run 0 -- netc build -q b.net
run 0 'c1: epoch 3/3  reconstruction' 'c2: epoch 3/3' -- ./b rbm c1 c2 --epochs=3 --threads=1 -o a.safetensors
hold "the reconstruction gets better" awk '$1 == "c1:" && !n++ { first = $5 } $1 == "c1:" { last = $5 }
    END { exit !(last + 0 < 0.6 * first) }' stderr
run 0 -- ./b rbm c1 c2 -q --epochs=3 --threads=3 -o b.safetensors
same "threads" a.safetensors b.safetensors
run 0 -- ./b rbm c1 -q --epochs=3 --threads=2 -o c1.safetensors
run 0 -- ./b rbm c2 -q --epochs=3 --weights=c1.safetensors -o c2.safetensors
same "one after the other" a.safetensors c2.safetensors
run 0 -- ./b train -q --weights=a.safetensors --out=run
run 0 -- ./b train -q --epochs=0 --out=first
hold "weights" python3 - <<'END'
import json, struct
def tensors(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8:8 + n])
    return {k: raw[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]
            for k, v in head.items() if k != "__metadata__"}
first, c1, both = (tensors(f) for f in ("first/last.safetensors", "c1.safetensors", "a.safetensors"))
assert first["f.weight"] == both["f.weight"] and first["c2.weight"] == c1["c2.weight"]
for name in ("c1.weight", "c1.bias"):
    assert first[name] != c1[name] == both[name], name
assert first["c2.weight"] != both["c2.weight"] and first["c2.bias"] != both["c2.bias"]
END
run 2 'which layer' -- ./b rbm
run 2 'no layer that begins' -- ./b rbm f
run 2 'reads 6 maps' -- ./b rbm c2 --from=image
run 2 'leaves no block' -- ./b rbm c2 --pool=16 --on=0.001
run 2 'at most one' -- ./b rbm c1 --on=0.25
run 5 -- ./b rbm c1 -q --epochs=1 --limit=10 -o no/where.safetensors
finish
