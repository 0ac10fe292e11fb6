#!/usr/bin/env bash
# pictures.sh: networks whose output is a picture and whose losses are computed from layers: gram, tv,
# alpha_norm, penalty.  They train on pictures without classes, and are judged by their loss.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

cat >painter.net <<'END'
net Painter {
  input image: f32[3, 20, 20]
  param style: f32[81] = 0
  see: image -> conv(9, 3x3, init = he) -> relu
  d: image -> conv(8, 3x3, pad = 1) -> relu -> conv(3, 3x3, pad = 1) -> tanh
  again: conv(9, 3x3, share = see) -> relu
  output picture = d
  loss like:    mse(again, see)
  loss style:   mse(flatten(gram(again)), style, weight = 4)
  loss smooth:  penalty(tv(d, 1.5), weight = 1e-4)
  loss small:   penalty(alpha_norm(d, 6), weight = 1e-4)
  train { optimizer = adam(2e-3); batch = 4; epochs = 2; only = ["d"] }
  data { train = digits(120) }
}
# What a picture's style is: one step of gradient descent finds it.
net Style extends Painter {
  replace d with scale(1)
  output picture = d
  loss like:   mse(again, see, weight = 0)
  loss style:  mse(flatten(gram(again)), style, weight = 81 / 2)
  loss smooth: penalty(tv(d), weight = 0)
  loss small:  penalty(alpha_norm(d), weight = 0)
  train { optimizer = sgd(1); batch = 1; epochs = 1; only = ["style"] }
}
END
loss() { "$@" --json | grep -o '"loss":[-0-9.e]*' | cut -d: -f2; }

run 0 -- netc build -q --net=Painter painter.net -o painter
run 0 -- ./painter gradcheck
run 0 'test loss [0-9.]+  loss.like [^%]*  lr' 'epoch 2/2' -- ./painter train --out=run
hold "no error rate is told" grep -q '^test loss [0-9.]* (best [0-9.]* after epoch [12])' stdout
run 0 -- ./painter train -q --epochs=0 --out=start
hold "the loss falls" awk "BEGIN { exit !($(loss ./painter eval --out=run) < 0.8 * $(loss ./painter eval --out=start)) }"
run 2 'not judged by classes' -- ./painter eval --out=run --crops=10
run 2 'not judged by classes' -- ./painter eval --out=run --confusion=x.svg
run 0 -- ./painter train -q -t 1 --out=one
run 0 -- ./painter train -q -t 3 --out=three
same "threads" one/last.safetensors three/last.safetensors

# A flat folder of pictures, for a net without a class.
mkdir flat
./painter data show -o flat/a.png >/dev/null 2>&1
cp flat/a.png flat/b.png
run 0 '2 samples' -- ./painter train --data=flat --out=flatrun

# The style of one picture is a parameter after one step.
mkdir one_picture
cp flat/a.png one_picture
run 0 -- netc build -q --net=Style painter.net -o style
run 0 -- ./style train -q --data=one_picture --out=found
run 0 -- ./style eval -q --data=one_picture --out=found --json
hold "found" awk "BEGIN { exit !($(grep -o '"style":[-0-9.e]*' stdout | cut -d: -f2) < 1e-10) }"

# A painter learns from a loss network, by default on drawn digits: Gram matrices first.
for net in Style StyleTrain; do
    run 0 -- netc build -q --net=$net -D H=32 -D W=32 "$src/specs/style_train.net" -o $net
done
run 0 -- ./Style train -q --out=styled
run 0 -- ./Style eval -q --out=styled
run 0 -- ./StyleTrain train -q --weights=styled/last.safetensors --partial --epochs=0 --out=before
run 0 -- ./StyleTrain train -q --weights=styled/last.safetensors --partial --epochs=1 --out=after
hold "it learns" awk "BEGIN { exit !($(loss ./StyleTrain eval --out=after) < 0.5 * $(loss ./StyleTrain eval --out=before)) }"
finish
