#!/usr/bin/env bash
# big.sh: the networks of 224x224 pixels: one picture through them, steps of training on 16 fixed
# pictures whose loss must fall, deconvnet from the fifth convolution to the pixels.  VGG gets few
# steps: one of them is 1.5 Tflop.  Prints its seconds.
# ctest-labels: slow pair
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

free_mb=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo 2>/dev/null)
[ "${free_mb:-9999}" -ge 6000 ] || skip "needs 6 GB of memory, $free_mb MB are free"
for i in $(seq 0 15); do
    mkdir -p "pics/class$((i % 4))"
    ppm "pics/class$((i % 4))/$i.ppm" 250 230 "$i"
done
ppm one.ppm 300 224 99
pictures=(one.ppm)
for f in "${NETC_DATA_DIR:-/nowhere}"/photos/*.{jpg,jpeg,png}; do
    [ -f "$f" ] && pictures+=("$f") && break
done

# timed WHAT COMMAND...
timed() {
    local what=$1 start
    shift
    start=$(date +%s.%N)
    "$@"
    echo "$what: $(echo "$(date +%s.%N) $start" | awk '{ printf "%.1f", $1 - $2 }') s"
}

# network NAME SPEC FLAGS STEPS LAYER MAPS
network() {
    local name=$1 steps=$4 layer=$5
    # shellcheck disable=SC2086
    run 0 -- netc build -q --target-cpu=native $3 "$src/specs/$2" -o "$name"
    timed "$name: $steps steps of 16 pictures" \
        run 0 -- "./$name" train -q --data=pics --batch=16 --epochs="$steps" --checkpoint-epochs=0 \
        --log-steps=1 --out="$name-run"
    hold "$name: $steps finite losses, the last below the first" awk -F, -v n="$steps" '
        $1 == "train" { if ($5 !~ /^[0-9.e-]+$/) exit 1; if (!k++) f = $5; l = $5 }
        END { exit !(k == n && l < f) }' "$name-run/log.csv"
    awk -F, -v name="$name" '$1 == "train" { if (!k++) f = $5; l = $5; r = $9 }
        END { printf "%s: loss %.4f to %.4f, last step %.1f images/s\n", name, f, l, r }' "$name-run/log.csv"
    timed "$name: predict ${#pictures[@]} picture(s)" \
        run 0 -- "./$name" predict -q --json --weights="$name-run/last.safetensors" "${pictures[@]}"
    hold "$name: predict --json" json stdout
    timed "$name: deconvnet from $layer" \
        run 0 -- "./$name-viz" deconv -q --weights="$name-run/last.safetensors" --layer="$layer" \
        --maps=0-7 --out="$name-viz-out" "${pictures[@]: -1}"
    hold "$name: a projection that is not empty" \
        awk -F, 'NR > 1 && $14 > 0 { n++ } END { exit !n }' "$name-viz-out/deconv-$layer.csv"
    timed "$name: saliency" \
        run 0 -- "./$name-viz" saliency -q --weights="$name-run/last.safetensors" \
        --out="$name-viz-out" "${pictures[@]: -1}"
    rm -rf "$name-run"
}

network zfnet zfnet.net "" 20 conv5
network vgg vgg.net "--variant=Table1.D" 2 s5.c.3
finish
