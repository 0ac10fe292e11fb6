#!/usr/bin/env bash
# window.sh: global and p-norm pools, contrast normalisation, crops, borders, other sizes, axes and
# shapes in one net: it learns, gradients agree, the bits do not depend on threads.  With NETC_DATA_DIR:
# a published ResNet-20 (shortcuts of option A) makes its published errors.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

cat >window.net <<EOF
net Window {
  input image: f32[1, 28, 28]
  input digit: class[10]
  n0: subtractive_norm(5) -> divisive_norm(5)
  c1: conv(12, 5x5) -> abs -> lp_pool(2x2)
  u:  upsample(2, mode = bilinear) -> crop(20x20) -> pad(2, mode = reflect)
      -> conv(18, 3x3, stride = 2, round = floor) -> relu
  a:  u -> slice(0, 10) -> channel_shuffle(5)
  b:  u -> slice(10, 8)
  m:  u -> max(axis = maps)
  d:  concat(a, b, m) -> downsample(2) -> pad(maps = 3)
  t:  d -> transpose(hwc) -> reshape(25, 6x6)
  r:  d -> resize(7x4)
  g:  concat(flatten(global_avgpool(r)), flatten(global_maxpool(d)), flatten(t),
             flatten(max(d, axis = height)))
  y:  dense(10)
  output p = softmax(y)
  loss   ce: cross_entropy(y, digit)
  metric err: error_rate(argmax(y), digit)
  data  { train = digits(600, seed = 1); test = digits(600, seed = 2) }
  train { optimizer = sgd(lr = 0.002, momentum = 0.9); batch = 20; epochs = 6; seed = 1 }
}
EOF
run 0 -- netc check -Werror window.net
run 0 -- netc build -q window.net
run 0 -- ./window train -q --threads=1 --out=t1
hold "it recognises most digits of the test" awk -F, '
    $1 == "test" { e = $6 } END { exit !(e != "" && e < 0.2) }' t1/log.csv
run 0 -- ./window train -q --threads=3 --out=t3
same "threads do not change bits" t1/last.safetensors t3/last.safetensors
run 0 -- ./window gradcheck --weights=t1/last.safetensors --tolerance=0.1

if [ -n "${NETC_DATA_DIR:-}" ] && [ -d "$NETC_DATA_DIR/cifar10-resnet20" ]; then
    run 0 -- netc build -q "$src/specs/resnet_cifar.net" --variant 20 -o resnet20
    run 0 -- ./resnet20 eval -q --json --data="$NETC_DATA_DIR/cifar10-subset" \
        --weights="$NETC_DATA_DIR/cifar10-resnet20/resnet20-12fca82f.safetensors"
    hold "915 of 1,000 right, as its author's program" grep -q '"error":0.085,' stdout
fi

finish
