#!/usr/bin/env bash
# tune.sh: the plan says what it expects and why; --tune measures, remembers, and later builds use it;
# whatever is wrong with the remembered files costs a warning at most.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

export XDG_CACHE_HOME=$work/cache NETC_MACHINE=$work/machine
mkdir "$XDG_CACHE_HOME"
printf '*\tflops=1e11 l2=1e11 l3=5e10 dram=4e10 dram_one=2e10 threads=2\n' >machine
cat >n.net <<'N'
net N {
  input image: f32[1, 28, 28]
  input digit: class[10]
  c1: conv(32, 3x3, pad = 1) -> relu
  c2: conv(32, 3x3, pad = 1) -> relu
  p2: maxpool(2x2)
  f3: dense(10)
  output prob = softmax(f3)
  loss ce: cross_entropy(f3, digit)
  data { train = digits(64, seed = 1); pixels = range(0, 1) }
  train { optimizer = sgd(lr = 0.01); batch = 8; epochs = 1; seed = 1 }
}
N
wide() { awk 'length > 200 { exit 1 }' "$1"; }
count() { [ "$(grep -cE -- "$2" "$1")" -eq "$3" ]; }

# --- the plan ---
for mode in forward train look; do
    run 0 -- netc emit --as=plan --mode=$mode n.net -o $mode.plan
    hold "plan of $mode: at most 200 columns" wide $mode.plan
done
hold "what it was planned for" grep -q 'times of one call with 8 images on 4 threads' train.plan
hold "forward is for one image" grep -q 'times of one call with 1 image on' forward.plan
hold "a time for the entry" grep -qE '^entry step: [0-9.]+ ms$' train.plan
hold "alternatives" grep -qE 'else .*(direct|winograd[24]) .*[0-9.]+ ms' train.plan
run 0 -- netc emit --as=plan --mode=train --batch=32 n.net -o batch.plan
hold "--batch" grep -q 'times of one call with 32 images' batch.plan
run 0 -- netc emit --as=plan --mode=train --exact n.net -o exact.plan
hold_not "--exact: no Winograd" grep -q winograd exact.plan

# a fixed target knows nothing of this machine, native does
run 0 -- netc emit --as=plan --target-cpu=native n.net -o native.plan
hold "native: the remembered speeds" grep -q 'on 2 threads of 100 GFLOP/s; L2 100 GB/s, L3 50 GB/s a thread; memory 40 GB/s' native.plan
printf '*\tflops=2e11 l2=1e11 l3=5e10 dram=3e10 dram_one=2e10 threads=8\n' >machine
run 0 -- netc emit --as=plan --mode=train n.net -o again.plan
same "the plan of a fixed target on another machine" train.plan again.plan
run 0 -- netc emit --as=plan --target-cpu=native n.net -o other.plan
hold_not "native: another machine" cmp -s native.plan other.plan
# measured when not remembered, said only with -v
rm machine
run 0 'measured\)' -- netc emit --as=plan --target-cpu=native -v n.net -o measured.plan
hold "and kept" grep -q 'flops=.*threads=' machine
run 0 'remembered\)' -- netc emit --as=plan --target-cpu=native -v n.net -o measured2.plan
same "the same plan from the kept speeds" measured.plan measured2.plan
NETC_MACHINE=/nowhere/machine run 0 -- netc emit --as=plan --target-cpu=native n.net -o /dev/null
hold "a machine file that cannot be written: nothing said" [ ! -s stderr ]
echo garbage >machine
run 0 -- netc emit --as=plan --target-cpu=native n.net -o /dev/null
hold "garbage is measured again" grep -q 'flops=.*threads=' machine

# --- tuning ---
run 0 'tuned forward 1/[0-9]+ .*: .* ms' 'tuned train' 'tuned look' -- netc build n.net --tune -o a
hold "plain lines in a pipe" no_control stderr
wisdom=$(ls "$XDG_CACHE_HOME"/netc/wisdom-*)
hold "a file of winners" grep -q '^netc-wisdom 1 ' "$wisdom"
lines=$(grep -c '^tuned' stderr)
hold "one line each" count "$wisdom" "$(printf '^[^\t]+\t[^\t]+\t[^\t]+ ms')" "$lines"
run 0 -- netc build -q n.net --target-cpu=native -o b
same "a later build uses it" a b
run 0 -- netc emit --as=plan --mode=train --target-cpu=native n.net -o native.plan
hold "the plan says so" grep -q 'measured best;' native.plan
run 0 -- netc emit --as=plan --mode=train --exact --target-cpu=native n.net -o native.plan
hold_not "--exact is stronger" grep -q winograd native.plan
run 0 -- netc build n.net --tune -o c
hold_not "what is known is not measured again" grep -q '^tuned' stderr
same "tuned twice" a c
run 0 '^tuned train' -- netc build n.net --tune=again -o c
run 0 -- netc build -q n.net --tune=again -o c
hold "-q: nothing said" [ ! -s stderr ]
run 0 'tuned forward' -- netc run --tune --batch=3 n.net info
hold "run --tune runs" grep -q conv stdout
run 2 'target-cpu=native' -- netc build n.net --tune --target-cpu=x86-64-v3 -o d

# --- what can be wrong with the file ---
grep -v '^netc' "$wisdom" >headless
for broken in headless /etc/hostname n.net; do
    NETC_WISDOM=$broken run 0 'warning: line [0-9]+ of .*' -- netc build n.net --target-cpu=native -o e
    hold "one warning for $broken" count stderr warning 1
    NETC_WISDOM=$broken run 0 -- netc emit --as=plan --mode=train --target-cpu=native n.net -o e.plan
    hold_not "$broken is ignored" grep -q 'measured best' e.plan
done
sed '1s/.*/netc-wisdom 1 another machine/' "$wisdom" >foreign
NETC_WISDOM=foreign run 0 -- netc emit --as=plan --mode=train --target-cpu=native n.net -o e.plan
hold "another machine's file: nothing said" [ ! -s stderr ]
hold_not "and not used" grep -q 'measured best' e.plan
NETC_WISDOM=/nowhere/w run 0 'cannot be kept' -- netc build n.net --tune -o e
hold "one warning" count stderr warning 1

# --- programs know what was expected of them ---
run 0 -- ./a bench --entry=train --batch=8 --runs=3 --json
hold "bench --json" json stdout
predictions() { [ "$(grep -c '"ms_predicted":' stdout)" -eq "$(($(grep -c '"algorithm":' stdout) + 1))" ]; }
hold "a prediction for each kernel and for the whole" predictions
hold_not "none of them nothing" grep -q '"ms_predicted":0.000000,' stdout
hold "the planned batch" grep -q '"plan_batch":8' stdout
run 0 -- ./a bench --runs=3
hold "and as text" grep -q '^planned for 1 image, ' stdout

# --- values that are none ---
for option in --batch=0 --batch=x --batch=1.5 --memory=0 --memory=2X --memory=-1 --memory=1e9 --weights=f16 --tune=yes; do
    run 2 -- netc build n.net $option -o f
done
for option in --memory=1.5G --memory=500M --memory=2GiB --memory=123456789; do
    run 0 -- netc emit --as=plan n.net $option -o f
done
finish
