#!/usr/bin/env bash
# compile_time.sh: compiling stays quick.  LeNet-5 (goal 0.5 s on two cores), VGG-16 (3 s) and a network
# of 150 equal convolutions get about twice the processor time they need or more; the last would exceed
# it if equal kernels were compiled again.
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
if [ -z "${flags:-}" ]; then # sanitized compilers are several times slower
    within 2 lenet5 "$src/specs/lenet5.net"
    within 10 vgg "$src/specs/vgg.net"
else
    within 20 vgg "$src/specs/vgg.net"
fi
within 12 deep deep.net
finish
