#!/usr/bin/env bash
# losses.sh: several losses add up by their weights: in what `eval` reports, in the gradient, and in
# training, where the sum does what one loss with the sum of the weights does.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

net() { # NAME, weights of a, b, c
    cat >"$1.net" <<END
net ${1^} {
  input image: f32[1, 28, 28]
  input digit: class[10]
  t: conv(4, 5x5, stride = 2) -> relu
  early: t -> dense(10)
  h: t -> dense(16) -> tanh
  late: dense(10)
  output prob = softmax(late)
  loss a: cross_entropy(late, digit, weight = $2)
  loss b: cross_entropy(early, digit, weight = $3)
  loss c: mse(late, digit, weight = $4)
  metric err: error_rate(argmax(late), digit)
  data { train = digits(600); test = digits(300, seed = 2) }
  train { optimizer = sgd(0.05); batch = 30; epochs = 2 }
}
END
    run 0 -- netc build -q "$1.net"
}
of() { # NET LOSS: its figure for the common weights
    "./$1" eval -q --json --weights=run/last.safetensors | grep -o "\"$2\":[-0-9.e]*" | head -1 | cut -d: -f2
}
near() { awk -v x="$1" -v y="$2" 'BEGIN { d = x - y; exit !(d * d <= 1e-12 * (1 + y * y)) }'; }

net all 1 0.3 2
net alone 1 0 0
net other 0 1 0
run 0 -- ./all train -q --out=run
hold "each loss is reported" [ -n "$(of all a)" ] && [ -n "$(of all b)" ] && [ -n "$(of all c)" ]
hold "the sum" near "$(of all loss)" "$(awk "BEGIN { printf \"%.12g\", $(of all a) + $(of all b) + $(of all c) }")"
hold "a is the loss of the net without the others" near "$(of all a)" "$(of alone loss)"
hold "b is 0.3 times its own" near "$(of all b)" "$(awk "BEGIN { printf \"%.12g\", 0.3 * $(of other loss) }")"
run 0 -- ./all eval -q --weights=run/last.safetensors
hold "in words" grep -qE 'loss [0-9.]+   \(a [0-9.]+ \+ b [0-9.]+ \+ c [0-9.]+\)' stdout
run 0 -- ./all gradcheck
run 0 -- ./all train -q --threads=1 --out=one
run 0 -- ./all train -q --threads=3 --out=three
same "threads" one/last.safetensors three/last.safetensors

# Each output that a loss compares with the class, and each metric: what the net with that output alone tells.
sed -e 's/net All/net Heads/' -e 's/output prob = softmax(late)/output prob = softmax(late), first = softmax(early), h/' \
    -e 's/loss b: .*/loss b: cross_entropy(early, digit, weight = 0.3)/' \
    -e 's/^  train {/  metric top3: topk(late, digit, k = 3)\n  metric near: topk(early, digit, k = 2)\n&/' \
    -e 's/epochs = 2/epochs = 3; schedule = plateau(val.near, factor = 0.5)/' all.net >heads.net
cat >>heads.net <<'END'
net First extends Heads {
  output first = softmax(early)
  metric err: error_rate(argmax(early), digit)
  metric top3: topk(early, digit, k = 3)
  metric near: topk(early, digit, k = 2)
}
END
run 0 -- netc build -q --net=Heads heads.net
run 0 -- netc build -q --net=First heads.net -o first
run 0 -- ./heads train -q --out=heads.a
for pair in first.error:error first.top5:top5_error near:near top3:; do
    here=$(./heads eval -q --json --out=heads.a | grep -o "\"${pair%:*}\":[0-9.e-]*" | cut -d: -f2)
    alone=$(./first eval -q --json --out=heads.a | grep -o "\"${pair#*:}\":[0-9.e-]*" | cut -d: -f2)
    [ "${pair#*:}" ] || alone=$here
    hold "${pair%:*} is $here, alone $alone" [ -n "$here" -a "$here" = "$alone" ]
done
run 0 -- ./heads eval -q --out=heads.a
hold "in words" grep -qE '^  first.error +[0-9.]+%$' stdout
hold "the log has a column for each" grep -q ',loss.a,loss.b,loss.c,top3,near,first.error,first.top5$' heads.a/log.csv
hold "and its cells in every row" awk -F, 'NF != 17 { exit 1 }
    $1 == "test" { n++; if ($NF == "" || $11 == "") exit 1 } END { exit n != 3 }' heads.a/log.csv
run 0 -- ./heads train -q --lr=0.4 --epochs=8 --out=heads.b
hold "plateau(val.near): half the rate after each epoch without a new best of it" awk -F, '
    $1 == "test" { if (rate && $8 != rate) exit 1
        rate = $8 / (best == "" || $15 < best ? 1 : 2); if (best == "" || $15 < best) best = $15 }
    END { exit !(best != "" && rate < 0.4) }' heads.b/log.csv

# The same loss twice is one of twice the weight.
sed -e 's/net All/net Twice/' -e 's/loss b: .*/loss b: cross_entropy(late, digit, weight = 0.5)/' \
    -e 's/weight = 1)/weight = 0.5)/' -e '/loss c/d' all.net >twice.net
run 0 -- netc build -q twice.net
run 0 -- ./twice train -q --out=twice.a
run 0 -- ./alone train -q --out=alone.a
hold "half and half" near "$(./twice eval -q --json --out=twice.a | grep -o '"loss":[0-9.]*' | cut -d: -f2)" \
    "$(./alone eval -q --json --out=alone.a | grep -o '"loss":[0-9.]*' | cut -d: -f2)"
finish
