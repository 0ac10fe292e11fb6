#!/usr/bin/env bash
# photos.sh: what must hold of SqueezeNet 1.1 with its published weights on twelve photographs: what a
# projection shows matters to its map, saliency depends on the weights, Grad-CAM lies on the object.
# ctest-labels: slow
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"
[ -n "${NETC_DATA_DIR:-}" ] || skip "set NETC_DATA_DIR to a folder with photos/ and squeezenet-v1.1/"
photos=$NETC_DATA_DIR/photos
[ -d "$photos" ] || skip "no photos in $NETC_DATA_DIR"

run 0 -- netc import -q "$NETC_DATA_DIR/squeezenet-v1.1/squeezenet_v1.1.caffemodel" --mean=123,117,104
hold "the spec takes the middle of a photograph" \
    grep -q 'order = bgr; resize = short(256); crop = 227x227 }$' squeezenet_v1.1.net
run 0 -- netc build -q squeezenet_v1.1.net -o squeeze
weights=--weights=squeezenet_v1.1.safetensors
floats() { tail -c +129 "$1" | od -An -v -tf4 -w4; }

# --- a square over what the strongest map's projection shows lowers the map's activity ---
# Z&F 2014, section 4.2, their own check of the projections: of squares of 57 pixels the one over most
# of |projection| leaves less activity than the clean picture has and than the median square leaves.
for f in "$photos"/*.{jpg,png}; do
    name=$(basename "$f")
    run 0 -- ./squeeze-viz occlude "$weights" "$f" --layer=fire5.expand3x3 --side=57 --stride=45 --out=o
    clean=$(grep -oE '[0-9.e+]+ when nothing' stderr | cut -d' ' -f1)
    hold "$name: covering the projection lowers the map (clean: $clean)" awk -F, -v clean="$clean" '
        FNR == NR { if (FNR > 1) { y[n] = $1; x[n] = $2; sum[n] = sorted[n] = $3; n++ } next }
        { i = FNR - 1; r = int(i / 227) % 227; c = i % 227; v = $1 + 0; v = v < 0 ? -v : v
          if (v > 0) for (k = 0; k < n; k++)
              if (r >= y[k] - 28 && r < y[k] + 29 && c >= x[k] - 28 && c < x[k] + 29) share[k] += v }
        END {
            for (k = 0; k < n; k++) for (j = k; j > 0 && sorted[j - 1] > sorted[j]; j--) {
                t = sorted[j]; sorted[j] = sorted[j - 1]; sorted[j - 1] = t }
            best = 0
            for (k = 0; k < n; k++) if (share[k] > share[best]) best = k
            print sum[best], "median", sorted[n / 2], "at", y[best], x[best]
            exit !(n == 36 && FNR == 3 * 227 * 227 && sum[best] < clean && sum[best] < sorted[n / 2])
        }' o/occlusion-0.csv <(floats o/occlusion-0-projection.npy)
done

# --- other weights, another saliency map ---
head='{"conv10.bias":{"dtype":"F32","shape":[1000],"data_offsets":[0,4000]}}'
{ printf '%b' "\\x$(printf '%02x' ${#head})\\0\\0\\0\\0\\0\\0\\0$head" && head -c 4000 /dev/zero; } >bias.safetensors
mkdir few
ln -s "$photos"/{zebra.jpg,macaws.png,coffee.png,lighthouse.png} few
run 0 -- ./squeeze-viz saliency -q "$weights" few --out=trained
run 0 -- ./squeeze-viz saliency -q --partial --weights=bias.safetensors few --out=random
for i in 0 1 2 3; do
    hold "saliency of picture $i depends on the weights: correlation below 0.5" awk '
        { a = $1 + 0; b = $2 + 0; n++; sa += a; sb += b; aa += a * a; bb += b * b; ab += a * b }
        END { r = (n * ab - sa * sb) / sqrt((n * aa - sa * sa) * (n * bb - sb * sb)); print r
              exit !(n == 227 * 227 && r < 0.5) }' \
        <(paste <(floats trained/saliency-$i.npy) <(floats random/saliency-$i.npy))
done

# --- Grad-CAM of the right class lies on the object ---
# Photographs whose object does not fill the picture; its box in the 227 x 227 pixels that the network
# sees (y, x, height, width), drawn by hand.
while read -r name class y x h w; do
    run 0 -- ./squeeze-viz gradcam -q "$weights" --class="$class" "$photos/$name" --out=cam
    hold "$name: peak of class $class in its box, on average half as high again there as outside" awk \
        -v y="$y" -v x="$x" -v h="$h" -v w="$w" '
        { i = NR - 1; r = int(i / 227); c = i % 227; v = $1 + 0
          at = r >= y && r < y + h && c >= x && c < x + w
          if (at) { inside += v; n++ } else { outside += v; m++ }
          if (v > top) { top = v; good = at } }
        END { print inside / n / (outside / m); exit !(NR == 227 * 227 && good && inside / n > 1.5 * outside / m) }' \
        <(floats cam/gradcam-0.npy)
done <<'BOXES'
barn.png 425 0 0 140 165
cat.jpg 282 0 60 227 135
coffee.png 967 0 30 140 165
husky-dog-bicycle.jpg 250 80 0 147 80
lighthouse.png 437 15 80 127 35
macaws.png 88 35 120 192 107
BOXES
finish
