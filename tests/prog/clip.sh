#!/usr/bin/env bash
# clip.sh: a bar that moves left or right: one frame cannot tell, a convolution over two frames can.
# Bits do not depend on threads; gradients agree; weights have Conv3d's shape; pictures are refused;
# every verb of NAME-viz draws.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

# rows of 1 x 4 x 6 x 8 numbers and a class: a bar two columns wide, with noise, wraps around
bars() { # FILE ROWS SEED
    awk -v rows="$2" -v seed="$3" 'BEGIN {
        srand(seed)
        for (i = 0; i < rows; i++) {
            right = rand() < 0.5; x = int(8 * rand()); line = ""
            for (f = 0; f < 4; f++)
                for (c = 0; c < 48; c++) {
                    d = (c % 8 - x - (right ? f : -f) + 16) % 8
                    line = line sprintf("%.3f,", (d < 2) + 0.2 * (rand() - 0.5))
                }
            print line right
        }
    }' >"$1"
}
bars train.csv 400 1
bars test.csv 200 2

cat >bar.net <<'EOF2'
net Bar(t = 2) {
  input video: f32[1, 4, 6, 8]
  input way: class[2]
  c1: conv(6, [t, 3, 3], pad = 0x1x1, init = he) -> relu -> maxpool(1x2x2)
  c2: conv(8, [t, 3, 3], pad = 0x1x1, init = he) -> bn -> relu
  c3: mean(axis = time) -> flatten -> dense(2)
  output p = softmax(c3)
  loss   ce: cross_entropy(c3, way)
  metric err: error_rate(argmax(c3), way)
  data  { train = csv("train.csv", label = last); test = csv("test.csv", label = last) }
  train { optimizer = adam(0.01); batch = 20; epochs = 8; seed = 1 }
}
variants Form of Bar {
  slow { }
  single { set t = 1; insert frames(0, 1) before c1 }
}
EOF2
last_error() { awk -F, '$1 == "test" { e = $6 } END { print e }' "$1/log.csv"; }
for form in slow single; do
    run 0 -- netc check -Werror --variant=$form bar.net
    run 0 -- netc build -q --variant=$form bar.net -o $form
    run 0 -- ./$form train -q --threads=1 --out=$form.t1
done
hold "slow fusion sees where the bar goes" \
    awk -v e="$(last_error slow.t1)" 'BEGIN { exit !(e != "" && e < 0.02) }'
hold "a single frame does not tell" \
    awk -v e="$(last_error single.t1)" 'BEGIN { exit !(e > 0.35) }'
run 0 -- ./slow train -q --threads=3 --out=slow.t3
same "threads do not change bits" slow.t1/last.safetensors slow.t3/last.safetensors
run 0 -- ./slow gradcheck --weights=slow.t1/last.safetensors --tolerance=0.1
run 0 -- ./slow bench
run 0 -- ./slow predict --weights=slow.t1/last.safetensors csv:test.csv?label=last

# weights have the shape that PyTorch's Conv3d gives them
hold "saved shapes" grep -aq '"c1.weight":{[^}]*"shape":\[6,1,2,3,3\]' slow.t1/last.safetensors

# pictures are no clips
mkdir -p pictures/a pictures/b
printf 'P5 8 6 255\n%048d' 0 >pictures/a/x.pgm
printf 'P5 8 6 255\n%048d' 1 >pictures/b/y.pgm
run 4 "reads clips of 4 frames" -- ./slow train -q --data=pictures --out=no
run 4 "reads clips of 4 frames" -- ./slow predict --weights=slow.t1/last.safetensors pictures/a/x.pgm

# every verb draws something
head -n 5 test.csv >few.csv
verbs=$(./slow-viz --help | awk '/^Verbs:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }')
hold "NAME-viz has verbs" [ -n "$verbs" ]
for verb in $verbs; do
    case $verb in
    serve) continue ;; # explore.sh
    fold | invariance | dream | cue) code=2 ;; # pictures or planes only
    style) code=2 ;;                           # wants --style
    evolution) code=5 ;;                       # wants kept epochs
    *) code=0 ;;
    esac
    run $code -- timeout 60 ./slow-viz "$verb" -q --weights=slow.t1/last.safetensors \
        --data='csv:few.csv?label=last' --out="pic.$verb"
    if [ $code = 0 ]; then
        hold "NAME-viz $verb leaves pictures" [ -n "$(ls "pic.$verb")" ]
    else
        hold "NAME-viz $verb says what to do instead" grep -q "^help: " stderr
    fi
done

finish
