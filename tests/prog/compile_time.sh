#!/usr/bin/env bash
# compile_time.sh: compiling stays quick.  VGG-16 and a network of 150 equal convolutions get several
# times the processor time they need; the second would exceed it if equal kernels were compiled again.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

# within SECONDS NAME SPEC: the limit is on processor time, so a busy machine does no harm
within() {
    hold "$2 compiles within $1 s of processor time" \
        bash -c 'ulimit -t "$1"; netc build -q "$2" -o "$3"' _ "$1" "$3" "$2"
}

cat >deep.net <<'EOF'
net Deep {
  input image: f32[64, 56, 56]
  input kind: class[10]
  repeat 75 { conv(64, 3x3, pad = 1) -> relu -> conv(64, 3x3, pad = 1) -> relu }
  f: dense(10)
  loss ce: cross_entropy(f, kind)
}
EOF
within 20 vgg "$src/specs/vgg.net"
within 12 deep deep.net
finish
