#!/usr/bin/env bash
# features.sh: classifiers on the values of every layer: the same table for any number of threads,
# kept in memory or computed again; they learn; names, parts and arrays; a classifier on f's input
# is as good as the network's own last layer.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

cat >tiny.net <<'END'
net Tiny {
  input image: f32[1, 28, 28]
  input digit: class[10]
  c: conv(6, 5x5, stride = 2) -> relu
  h: dense(32) -> relu
  f: dense(10)
  output prob = softmax(f)
  loss ce: cross_entropy(f, digit)
  metric err: error_rate(argmax(f), digit)
  data { train = digits(1200); test = digits(500, seed = 2) }
  train { optimizer = sgd(0.05, momentum = 0.9); batch = 50; epochs = 4 }
}
END
run 0 -- netc build -q tiny.net
run 0 -- ./tiny train -q
run 0 -- ./tiny features -q --threads=1 -o one.csv
run 0 -- ./tiny features -q --threads=3 --memory=1 -o two.csv
same "threads and memory" one.csv two.csv
hold "a row for the image and each layer" \
    [ "$(cut -d, -f1,2 one.csv | tr '\n' ' ')" = "layer,values image,784 c,864 h,32 f,10 " ]
hold "they learn" awk -F, 'NR > 1 && ($3 < 60 || $4 < 60) { bad = 1 } END { exit bad }' one.csv
hold "h's classifier is the network's own, within 4 %" awk -F, -v e="$(./tiny eval -q --json |
    grep -o '"error":[0-9.]*' | cut -d: -f2)" '$1 == "h" { d = $3 - 100 * (1 - e); exit !(d * d < 16) }' one.csv
run 0 -- ./tiny features -q --layers=h,f --heads=svm --json
hold "one head, two layers" grep -q '"layers":\[{"name":"h","values":32,"svm":[0-9.]*},{"name":"f"' stdout
run 2 "'g'" 'help: ' -- ./tiny features -q --layers=g
run 2 'heads=tree' -- ./tiny features -q --heads=tree
run 2 'one layer' -- ./tiny features -q --save=x.npy
run 6 'memory' -- ./tiny features -q --layers=c --save=x.npy --memory=1
run 0 -- ./tiny features -q --layers=h --save=h.npz --limit=100
run 0 -- ./tiny features -q --layers=c --save=c.npy --part=test
if python3 -c 'import numpy' 2>/dev/null; then
    hold "arrays" python3 -c '
import numpy as np
z = np.load("h.npz")
assert z["x"].shape == (100, 32) and z["y"].shape == (100,) and set(z["y"]) <= set(range(10))
assert (z["x"] >= 0).all() and z["x"].std() > 0
assert np.load("c.npy").shape == (500, 6, 12, 12)'
fi
finish
