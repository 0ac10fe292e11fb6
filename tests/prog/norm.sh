#!/usr/bin/env bash
# norm.sh: a residual network with batch and instance normalisation learns, gives the same bits for
# any number of threads, resumes, and keeps its running statistics where they belong.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

spec() { # spec NAME FROZEN
    cat >"$1.net" <<EOF
net Norm {
  input image: f32[1, 28, 28]
  input digit: class[10]
  c1: conv(12, 3x3, stride = 2, pad = 1, bias = no) -> bn -> relu
  c2: conv(12, 3x3, pad = 1, bias = no) -> bn(frozen = $2) -> relu -> conv(12, 3x3, pad = 1, bias = no) -> bn
  r2: add(c2, c1) -> relu -> maxpool(2x2)
  c3: conv(20, 3x3, bias = no) -> instancenorm -> relu
  f4: dense(24, bias = no) -> bn -> relu
  y:  dense(10)
  output p = softmax(y)
  loss   ce: cross_entropy(y, digit)
  metric err: error_rate(argmax(y), digit)
  data  { train = digits(600, seed = 1); test = digits(600, seed = 2) }
  train { optimizer = sgd(lr = 0.05, momentum = 0.9, decay = 5e-4); batch = 40; epochs = 3
          init = gaussian(0, 0.1); seed = 1; checkpoint = every(1epoch) }
}
EOF
}
spec norm no
run 0 -- netc build -q norm.net
w=last.safetensors

run 0 -- ./norm train -q --threads=1 --out=t1
hold "the loss falls to a fifth" awk -F, '
    $1 == "train" { if (!n++) f = $5; l = $5 } END { exit !(n > 1 && l < f / 5) }' t1/log.csv
hold "it recognises most digits of the test (running statistics)" awk -F, '
    $1 == "test" { e = $6 } END { exit !(e != "" && e < 0.2) }' t1/log.csv
for t in 2 3; do
    run 0 -- ./norm train -q --threads=$t --out=t$t
    same "threads=$t: weights and statistics" t1/$w t$t/$w
done
run 0 -- ./norm train -q --epochs=1 --out=two
run 0 -- ./norm train -q --epochs=3 --out=two --resume
same "1 epoch and 2 more" t1/$w two/$w

# --- the file: names as PyTorch's, statistics among them ---
names=$(head -c 20000 t1/$w | tr -c '[:print:]' '\n' | head -n 40 | grep -o '"[a-z0-9._]*"' || true)
for n in weight bias running_mean running_var; do
    hold "the file has c1.bn1.$n" grep -qF "\"c1.bn1.$n\"" <<<"$names"
done
run 0 -- ./norm eval -q --weights=t1/$w
cp stdout whole
run 0 -- ./norm eval -q --weights=t1/$w --batch=7
same "images do not see each other outside training" whole stdout

# --- gradients, and projections through running statistics ---
run 0 -- ./norm gradcheck --weights=t1/$w --tolerance=0.1
run 0 -- ./norm-viz deconv --weights=t1/$w --data=digits:20

# --- a frozen layer keeps its statistics ---
spec still yes
run 0 -- netc build -q still.net
run 0 -- ./still train -q --epochs=1 --out=s
hold "netc check names what share cannot do" sh -c '
    sed "s/bn(frozen = no)/bn(share = c1)/" norm.net >shared.net; ! netc check shared.net'

finish
