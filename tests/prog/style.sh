#!/usr/bin/env bash
# style.sh: NAME-viz style and texture: known cases, the same bits for any number of threads, a run
# that was stopped goes on to the same bits, histograms, colours kept, refusals.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

cc=${CC:-cc}
tiny grey
tiny colour
sed -i 's/Tiny/Colour/; s/f32\[1, 28, 28\]/f32[3, 28, 28]/' colour.net
for net in grey colour; do
    run 0 -- netc build -q $net.net
    run 0 -- ./$net train -q --epochs=1 --out=$net.run
done
ppm photo.ppm 28 28 3
ppm paint.ppm 28 28 8
ppm other.ppm 60 40 5
w=--weights=colour.run/last.safetensors

# --- loss of the picture itself: 0, and nothing moves ---
for content in 0 300; do
    run 0 "after 0 iterations no step" -- ./colour-viz style $w photo.ppm --style=photo.ppm --start=content \
        --content=$content --steps=5 --out=self
    hold "style of itself: 0 steps, loss 0" \
        [ "$(sed -n '2,$p' self/style-photo.csv)" = "0,1,0,0,0,0" ]
done
run 0 -- ./colour-viz texture -q $w photo.ppm --start=content --steps=5 --out=self
hold "texture of itself: 0 steps" [ "$(sed -n '2,$p' self/texture-photo.csv)" = "0,1,0,0,0,0" ]

# --- threads, and going on after a stop ---
both=(--style="paint.ppm,other.ppm:0.3")
for how in lbfgs adam; do
    for t in 1 2; do
        run 0 "GFLOP, of it .* for Gram matrices; memory" "style: c1 c3; content: c1" -- \
            ./colour-viz style $w photo.ppm "${both[@]}" --optimizer=$how --steps=7 --threads=$t \
            --keep-state --out=$how$t
    done
    run 0 -- ./colour-viz style -q $w photo.ppm "${both[@]}" --optimizer=$how --steps=3 \
        --keep-state --out=$how.part
    run 0 -- ./colour-viz style -q $w photo.ppm "${both[@]}" --optimizer=$how --steps=7 --resume \
        --keep-state --out=$how.part
    for f in style-photo.{png,csv,state} style-photo-sheet.png; do
        same "$how: 1 and 2 threads" "${how}1/$f" "${how}2/$f"
        same "$how: stopped and resumed" "${how}1/$f" "$how.part/$f"
    done
done
hold "the loss falls" awk -F, 'NR == 2 { first = $3 + $4 } { last = $3 + $4 } END { exit !(last < first / 2) }' \
    lbfgs1/style-photo.csv
run 2 "another run" -- ./colour-viz style $w photo.ppm --style=paint.ppm --resume --out=lbfgs1
run 2 "nothing to resume" -- ./colour-viz style $w photo.ppm --style=paint.ppm --resume --out=none

# --- interrupted: picture and state are written ---
./colour-viz style $w photo.ppm --style=paint.ppm --steps=1000000 --optimizer=adam --out=int 2>int.err &
for _ in $(seq 100); do
    ! grep -q GFLOP int.err 2>/dev/null || break
    sleep 0.05
done
sleep 0.3
kill -INT $!
code=0
wait $! || code=$?
hold "interrupted: 130, not $code" [ $code -eq 130 ]
hold "interrupted: says how to go on" grep -q -- '--resume goes on' int.err
hold "interrupted: picture and state" [ -s int/style-photo.png -a -s int/style-photo.state ]

# --- pixels: histograms of a texture, colours of a content ---
cat >pixels.c <<'C'
#include "rt_image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* pixels hist A B: planes have equal histograms; pixels colour A B: differences of planes are equal
 * where nothing was cut */
int main(int argc, char **argv) {
    rt_image a = {0}, b = {0};
    rt_error err = {0};
    int count[3][256] = {{0}}, off = 0, moved = 0;
    if (argc != 4 || rt_image_read(&a, argv[2], &err) || rt_image_read(&b, argv[3], &err))
        return 2;
    if (a.width != b.width || a.height != b.height || a.channels != 3 || b.channels != 3)
        return 3;
    for (int i = 0; i < a.width * a.height; i++) {
        const unsigned char *p = a.data + 3 * i, *q = b.data + 3 * i;
        int cut = 0;
        for (int c = 0; c < 3; c++) {
            count[c][p[c]]++;
            count[c][q[c]]--;
            cut |= q[c] == 0 || q[c] == 255;
        }
        for (int c = 0; c < 2 && !cut; c++)
            off += abs((p[c + 1] - p[c]) - (q[c + 1] - q[c])) > 1;
        moved += memcmp(p, q, 3) != 0;
    }
    if (strcmp(argv[1], "hist") == 0)
        for (int i = 0; i < 3 * 256; i++)
            off = (i ? off : 0) + abs(count[i / 256][i % 256]);
    printf("off %d, moved %d\n", off, moved);
    return off != 0 || moved < a.width * a.height / 4;
}
C
hold "the reader of pixels compiles" "$cc" -std=gnu11 -O1 "-I$src/runtime" "-I$src/runtime/data" \
    pixels.c "$bin/libnetrt.a" -lpng -lturbojpeg -lz -lgomp -lm -o pixels
run 0 "histograms matched" -- ./colour-viz texture $w photo.ppm --steps=4 --out=tex
hold "a texture has the histogram of its source" ./pixels hist photo.ppm tex/texture-photo.png
run 0 -- ./colour-viz texture -q $w photo.ppm --steps=4 --no-histogram --out=plain
hold_not "without matching it has not" ./pixels hist photo.ppm plain/texture-photo.png
run 0 "colours of the content" -- ./colour-viz style $w photo.ppm --style=paint.ppm --keep-colour \
    --steps=4 --start=content --out=kept
hold "colours are those of the content" ./pixels colour photo.ppm kept/style-photo.png

# --- grey networks, data sets, other layers ---
g=--weights=grey.run/last.safetensors
run 0 "sees no colours" -- ./grey-viz style $g --image=3 --style=paint.ppm --keep-colour --steps=2
run 0 "style: c3; content: c3" -- ./grey-viz style -w grey.run/last.safetensors photo.ppm \
    --style=paint.ppm --layer=c3 --content-layer=c3 --steps=2 --smooth=1e-3

# --- refusals ---
run 2 "whose style" -- ./colour-viz style $w photo.ppm
run 2 "must be above 0" -- ./colour-viz style $w photo.ppm --style=paint.ppm:0
run 2 "no layer is called" -- ./colour-viz style $w photo.ppm --style=paint.ppm --content-layer=c9
run 2 "one picture at a time" -- ./colour-viz texture $w photo.ppm paint.ppm
hold_not "a style that is not there" ./colour-viz style $w photo.ppm --style=nowhere.jpg
finish
