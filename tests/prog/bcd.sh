#!/usr/bin/env bash
# bcd.sh: dense layers learn by block coordinate descent: the objective falls and so do the errors, the
# same bits come of any number of threads, eval agrees with what was said; nets that are no chains of
# dense layers and rectifiers are refused by the layer's name.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

spec() { # NAME, layers, score
    cat >"$1.net" <<END
net ${1^} {
  input image: f32[1, 28, 28]
  input digit: class[10]
  $2
  output prob = softmax($3)
  loss ce: cross_entropy($3, digit)
  metric err: error_rate(argmax($3), digit)
  defaults { dense.init = gaussian(0, 0.02) }
  data { train = digits(600); test = digits(600); pixels = range(0, 1) }
  train { optimizer = sgd(0.1); batch = 100 }
}
END
    run 0 -- netc build -q "$1.net"
}

spec chain 'a: dense(100) -> relu
  b: dense(61, bias = no) -> relu
  c: dense(10)' c
run 0 'sweep 0/8' 'sweep 8/8' -- ./chain bcd --sweeps=8 --threads=1 -o a.safetensors
cp stderr said
hold "the objective falls, the errors too" awk '$1 == "sweep" {
    if (n++ && $4 > was) exit 1
    was = $4; wrong = $8 + 0; if (n == 1) first = wrong; test = $11 + 0 }
    END { exit !(n == 9 && first > 60 && wrong < 12 && test < 35) }' said
run 0 -- ./chain bcd -q --sweeps=8 --threads=3 -o b.safetensors
same "threads" a.safetensors b.safetensors
run 0 -- ./chain eval --weights=a.safetensors
hold "the errors are the network's" grep -q "$(sed -n 's/.*sweep 8.*, \(.*\)% of test/\1/p' said)" stdout
run 0 -- ./chain bcd -q --sweeps=0 --weights=a.safetensors -o c.safetensors
same "nothing done" a.safetensors c.safetensors
run 5 -- ./chain bcd -q --sweeps=1 --limit=100 -o no/where.safetensors
run 2 'no operand' -- ./chain bcd a
run 2 'rho 0' -- ./chain bcd --rho=0
run 3 'positive definite' -- ./chain bcd -q --alpha=0 --limit=20 -o d.safetensors

spec conv 'k: conv(4, 5x5) -> relu
  c: dense(10)' c
run 2 "layer 'k' .conv.*is not dense" 'train learns by gradients' -- ./conv bcd
spec curve 'a: dense(12) -> tanh
  c: dense(10)' c
run 2 "layer 'a' .*has no relu|layer 'a' .*more than" -- ./curve bcd
spec sum 'a: dense(12) -> relu
  b: dense(12) -> relu
  s: add(a, b)
  c: dense(10)' c
run 2 "layer 's'" -- ./sum bcd
spec two 'a: dense(12) -> relu
  b: dense(12, a) -> relu
  c: dense(10, a)' c
run 2 'not what its dense layers' -- ./two bcd
finish
