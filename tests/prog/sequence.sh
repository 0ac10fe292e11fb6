#!/usr/bin/env bash
# sequence.sh: sequences learn.  A class that the first of 30 steps tells is remembered to the end by an
# lstm, which then names nearly every sequence; the same bits for 1 and 2 threads; weights of convolutions
# are saved as [maps, maps, kernel]; NAME-viz draws them.  With real data in NETC_DATA_DIR: the motif detector misses at most 8
# of the 106 promoters in ten folds; ItalyPowerDemand in 40 epochs errs less often than its nearest
# neighbour (4.5 %).
# ctest-labels: slow
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

# series SEED COUNT: the first of 30 numbers is 2 or -2, the others are noise
series() {
    printf '@problemName Memory\n@univariate true\n@classLabel true 0 1\n@data\n'
    awk -v s="$1" -v n="$2" 'BEGIN { srand(s); for (i = 0; i < n; i++) { c = int(2 * rand())
        printf "%g", 4 * c - 2; for (t = 1; t < 30; t++) printf ",%.4f", 2 * rand() - 1; print ":" c } }'
}

# wrong: images times error of the JSON that eval left in stdout
wrong() {
    awk 'match($0, /"images":[0-9]+/) { n = substr($0, RSTART + 9, RLENGTH - 9)
         match($0, /"error":[0-9.e-]+/); print n * substr($0, RSTART + 8, RLENGTH - 8) }' stdout
}

series 1 300 >Memory_TRAIN.ts
series 2 300 >Memory_TEST.ts
cat >memory.net <<'END'
net Memory {
  input x: f32[1, 30]
  input y: class[2]
  h: lstm(12)
  f: dense(2)
  output p = softmax(f)
  loss   ce:  cross_entropy(f, y)
  metric err: error_rate(argmax(f), y)
  data  { train = ts("Memory") }
  train { optimizer = adam(1e-2); clip = norm(1); batch = 20; epochs = 12; checkpoint = every(12epoch) }
}
END
run 0 -- netc build -q memory.net -o memory
run 0 -- ./memory gradcheck
run 0 -- ./memory train -q --threads=1 --out=one
run 0 -- ./memory train -q --threads=2 --out=two
same "lstm with 1 and 2 threads" one/last.safetensors two/last.safetensors
run 0 -- ./memory-viz report --weights=one/last.safetensors --out=viz
run 0 -- ./memory eval -q --json --weights=one/last.safetensors
hold "an lstm remembers the first of 30 steps" [ "$(wrong | cut -d. -f1)" -le 6 ]

if [ -n "${NETC_DATA_DIR:-}" ] && [ -d "$NETC_DATA_DIR/dna-promoters" ]; then
    run 0 -- netc build -q "$src/specs/motif.net" -o .
    misses=0
    for k in 1 2 3 4 5 6 7 8 9 10; do
        data="text:$NETC_DATA_DIR/dna-promoters/promoters.data?alphabet=acgt&fold=$k/10"
        run 0 -- ./motif train -q --threads=1 --data="$data"
        run 0 -- ./motif eval -q --json --data="$data" --weights=run/last.safetensors
        misses=$(awk -v a="$misses" -v b="$(wrong)" 'BEGIN { print a + b }')
    done
    run 0 -- ./motif-viz report --data="$data" --weights=run/last.safetensors --out=viz2
    run 0 -- ./motif-viz filters --data="$data" --weights=run/last.safetensors --out=viz2
    hold "motif.net misses $misses of 106 promoters" awk -v m="$misses" 'BEGIN { exit !(m < 8.5) }'
    hold "weights of a sequence have three extents" grep -aq '"c1.weight":{[^}]*"shape":\[32,4,9\]' \
        run/last.safetensors
else
    echo "NETC_DATA_DIR names no dna-promoters: skipped"
fi
if [ -n "${NETC_DATA_DIR:-}" ] && [ -d "$NETC_DATA_DIR/time-series" ]; then
    data="ts:$NETC_DATA_DIR/time-series/ItalyPowerDemand"
    run 0 -- netc build -q "$src/specs/series.net" --variant=ItalyPowerDemand -o series
    run 0 -- ./series train -q --threads=1 --epochs=40 --data="$data"
    run 0 -- ./series eval -q --json --data="$data" --weights=run/last.safetensors
    hold "$(wrong) of 1029 days wrong: fewer than 46" [ "$(wrong | cut -d. -f1)" -lt 46 ]
else
    echo "NETC_DATA_DIR names no time-series: skipped"
fi
finish
