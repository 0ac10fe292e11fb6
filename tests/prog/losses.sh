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

# The same loss twice is one of twice the weight.
sed -e 's/net All/net Twice/' -e 's/loss b: .*/loss b: cross_entropy(late, digit, weight = 0.5)/' \
    -e 's/weight = 1)/weight = 0.5)/' -e '/loss c/d' all.net >twice.net
run 0 -- netc build -q twice.net
run 0 -- ./twice train -q --out=twice.a
run 0 -- ./alone train -q --out=alone.a
hold "half and half" near "$(./twice eval -q --json --out=twice.a | grep -o '"loss":[0-9.]*' | cut -d: -f2)" \
    "$(./alone eval -q --json --out=alone.a | grep -o '"loss":[0-9.]*' | cut -d: -f2)"
finish
