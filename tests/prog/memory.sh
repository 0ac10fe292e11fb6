#!/usr/bin/env bash
# memory.sh: --memory makes training fit by making results again, with the bits of a run that keeps
# them, whatever the number of threads; what cannot fit is refused with the least that would.
# VGG-16 looks at one picture in little more than its weights.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

cat >deep.net <<'N'
net Deep {
  input image: f32[1, 28, 28]
  input label: class[10]
  repeat i in 1..4 { a[i]: conv(24, 3x3, pad = 1) -> relu }
  p1: maxpool(2x2)
  repeat i in 1..6 { b[i]: conv(32, 3x3, pad = 1) -> relu }
  p2: maxpool(2x2)
  repeat i in 1..4 { c[i]: conv(40, 3x3, pad = 1) -> relu }
  f1: dense(64) -> relu -> dropout(50%)
  f2: dense(10)
  output prob = softmax(f2)
  loss ce: cross_entropy(f2, label)
  data { train = digits(96, seed = 3); pixels = range(0, 1) }
  train { optimizer = sgd(lr = 0.01, momentum = 0.9); batch = 32; epochs = 2; seed = 5 }
}
N
cat >mixed.net <<'N'
net Mixed {
  input image: f32[1, 28, 28]
  input label: class[10]
  c1: conv(16, 5x5, pad = 2) -> relu -> lrn(5, k = 2, alpha = 1e-4, beta = 0.75)
  p1: maxpool(3x3, stride = 2, round = ceil)
  c2: conv(32, 3x3, pad = 1) -> tanh
  c3: conv(32, 3x3, pad = 1) -> relu
  a3: add(c2, c3) -> relu -> dropout(25%)
  c4: conv(32, 3x3, pad = 1, groups = 2) -> sigmoid -> lcn(5)
  p4: avgpool(2x2)
  s4: c4 -> subsample(2x2) -> stanh
  m4: [ p4, s4 ] -> concat
  c5: m4 -> conv(48, 3x3, pad = 1) -> relu
  f6: dense(32) -> relu -> dropout(50%)
  f7: dense(10)
  output prob = softmax(f7)
  loss ce: cross_entropy(f7, label)
  data { train = digits(96, seed = 3); pixels = range(0, 1) }
  train { optimizer = sgd(lr = 0.01, momentum = 0.9); batch = 32; epochs = 2; seed = 5 }
}
N
w=last.safetensors
for net in deep mixed; do
    run 0 -- netc build -q $net.net
    for t in 1 2 3 5 16; do
        run 0 -- ./$net train -q --threads=$t --out=$net-$t
        same "$net with $t threads" $net-1/$w $net-$t/$w
        run 0 -- ./$net eval --json --threads=$t --weights=$net-1/$w --data=digits:96:3
        cp stdout $net-$t/eval
        same "$net eval with $t threads" $net-1/eval $net-$t/eval
        run 0 -- ./$net-viz saliency -q --threads=$t --weights=$net-1/$w --data=digits:96:3 \
            --out=$net-$t
        same "$net projection with $t threads" $net-1/saliency-0.png $net-$t/saliency-0.png
    done
    for entry in train forward project; do
        run 0 -- ./$net bench --entry=$entry --rule=gradient --batch=3 --runs=1 --threads=5
    done
    run 6 'does not fit' 'least found' 'without recomputing' -- netc build --memory=1K $net.net
    least=$(sed -n 's/.*least found is \([0-9.]*\) MB.*/\1/p' stderr)
    whole=$(sed -n 's/.*without recomputing \([0-9.]*\).*/\1/p' stderr)
    hold "$net: recomputing saves memory ($least of $whole MB)" \
        awk -v a="$least" -v b="$whole" 'BEGIN { exit !(a > 0 && a < 0.97 * b) }'
    for part in 1 0.4 0.02; do # from a hair below the whole to the least
        limit=$(awk -v a="$least" -v b="$whole" -v p=$part \
            'BEGIN { printf "%dK", 1024 * (a + 0.1 + (b - a) * p - (p == 1) * 0.25) }')
        run 0 'training takes [0-9.]+ MB instead of' 'adds [0-9.e+-]+ GFLOP, [0-9.-]+ %' -- \
            netc build --memory="$limit" $net.net -o less
        run 0 -- ./less train -q --threads=3 --out=again
        same "$net in $limit" $net-1/$w again/$w
        run 0 -- netc emit --as=plan --mode=train --memory="$limit" $net.net
        hold "$net in $limit: the plan shows it" grep -qE '^made again +[0-9]+ kernels' stdout
    done
    run 0 -- netc build --memory=1G $net.net -o roomy
    hold_not "$net: nothing to report when it fits" grep -q 'instead of' stderr
done

# On two threads: weights, 10 MB of slab, scratch, and what any program takes.
free_mb=$(awk '/MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
if [ -z "${flags:-}" ] && [ "${free_mb:-9999}" -ge 1500 ]; then
    run 0 -- netc build -q "$src/specs/vgg.net" -o vgg
    run 0 -- ./vgg bench --json --batch=1 --runs=1 --threads=2
    peak=$(grep -oE '"peak_rss_mb":[0-9.]+' stdout | cut -d: -f2)
    weights=$(grep -oE '"parameters":[0-9]+' stdout | cut -d: -f2)
    hold "VGG-16: $peak MiB for $weights bytes of weights and 20 MB" \
        awk -v p="$peak" -v w="$weights" 'BEGIN { exit !(w > 5e8 && p * 1048576 <= w + 20e6) }'
fi
finish
