#!/usr/bin/env bash
# outputs.sh: a network with several outputs: each is, to the byte, what the network with that output
# alone computes; predict tells and saves them by name; a C program reads them in one pass;
# projections start at any of them.  And outputs with a class for every step of a sequence.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

cat >two.net <<'END'
net Two {
  input image: f32[1, 28, 28]
  input digit: class[10]
  c1: conv(6, 4x4, stride = 2) -> relu
  f2: dense(10)
  maps: c1 -> conv(3, 3x3) -> relu
  f3: dense(20)
  output prob = softmax(f2), maps
  output side = softmax(f3), f3
  loss ce: cross_entropy(f2, digit)
  data { train = digits(200); test = digits(20, seed = 2) }
  train { batch = 4; epochs = 1 }
}
net Maps extends Two { output maps }
net Side extends Two { output side = softmax(f3), prob = softmax(f2) }
END
run 0 -- netc build -q --net=Two two.net
run 0 -- ./two train -q
cat >pgm.c <<'END'
#include <stdio.h>
int main(int argc, char **argv) { /* a picture of stripes */
    printf("P5 28 28 255\n");
    for (int i = 0; i < 784; i++)
        putchar((i * (17 + argc * (int)argv[argc - 1][0]) + i / 28 * 31) & 255);
    return 0;
}
END
hold "a helper compiles" "${CC:-cc}" pgm.c -o pgm
./pgm a >a.pgm
./pgm b >b.pgm
./pgm c >c.pgm

# --- info ---
run 0 -- ./two info
hold "info lists outputs" grep -qF 'outputs prob 10 (classes) | maps 3x11x11 | side 20 | f3 20' stdout
run 0 -- ./two info --json
hold "so does its JSON" grep -qF \
    '"outputs":[{"name":"prob","shape":[10],"softmax":true},{"name":"maps","shape":[3,11,11],' stdout

# --- predict ---
run 0 -- ./two predict --save=o.npy a.pgm
hold "a line of classes, a line per further output" awk '
    NR == 1 { ok = $1 == "a.pgm" && $2 ~ /%$/ && NF == 7 }
    NR == 2 { ok = ok && $1 == "maps" && $2 == "3x11x11" && $NF == "o.maps.npy" }
    NR == 3 { ok = ok && $1 == "side" && $2 ~ /%$/ && NF == 8 }
    NR == 4 { ok = ok && $1 == "f3" && $2 == "20" }
    END { exit !(ok && NR == 4) }' stdout
hold "a file per output" [ -s o.prob.npy -a -s o.maps.npy -a -s o.side.npy -a -s o.f3.npy ]
for net in Maps Side; do
    run 0 -- netc build -q --net=$net two.net -o "$net"
done
run 0 -- ./Maps predict --weights=run/last.safetensors --save=alone.npy a.pgm
hold "one output has no name in its file" cmp alone.npy o.maps.npy
run 0 -- ./Side predict --weights=run/last.safetensors --save=alone.npy a.pgm
hold "the order changes no bit" cmp alone.side.npy o.side.npy
hold "nor what stands before" cmp alone.prob.npy o.prob.npy
hold "a derived net's outputs replace the base's" [ ! -e alone.maps.npy ]
run 0 -- ./two predict --output=side --save=only.npy a.pgm
hold "the chosen one alone" cmp only.npy o.side.npy
hold "is all that is told" [ "$(wc -l <stdout)" = 2 ]
run 0 -- ./two predict --save=dir --output=prob,maps a.pgm b.pgm
hold "a folder: names of pictures and outputs" \
    [ "$(cd dir && echo *)" = "a.maps.npy a.maps.png a.prob.npy b.maps.npy b.maps.png b.prob.npy" ]
run 0 -- ./two predict --json a.pgm b.pgm
hold "JSON" grep -q '"file":"b.pgm","top":\[{"class":.*"outputs":{"maps":{"shape":\[3,11,11\],"values":\[' stdout
if have python3; then
    hold "JSON reads back" python3 -c '
import json
a, b = json.load(open("stdout"))
assert len(a["top"]) == 3 and set(a["outputs"]) == {"maps", "side", "f3"}
side = b["outputs"]["side"]
assert side["shape"] == [20] and abs(sum(side["values"]) - 1) < 1e-5
assert abs(side["top"][0]["prob"] - max(side["values"])) < 1e-6
assert len(a["outputs"]["maps"]["values"]) == 363 and a["outputs"]["maps"] != b["outputs"]["maps"]'
fi
run 2 "no output 'sides'" "prob, maps, side, f3" -- ./two predict --output=sides a.pgm
run 2 "'prob' of Two is no picture" "output=NAME" -- ./two predict --save=o.png a.pgm
run 2 "leave out --crops" -- ./two predict --crops=10 --output=prob a.pgm

# --- a C program ---
cat >read.c <<'END'
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "two.h"
enum { N = 5 };
static float image[N * TWO_CHANNELS * TWO_HEIGHT * TWO_WIDTH], prob[N * 10], again[N * 10];
static float maps[N * TWO_SIZE_MAPS], side[N * TWO_SIZE_SIDE];
/* A single image may run in other kernels than several. */
static int differ(const float *a, const float *b) {
    for (int i = 0; i < TWO_SIZE_MAPS; i++)
        if (!(fabsf(a[i] - b[i]) <= 1e-5f * (1 + fabsf(b[i]))))
            return 1;
    return 0;
}
int main(int argc, char **argv) {
    two net;
    rt_error err = {0};
    int64_t dim[5];
    const char *name[] = {"side", "maps", "prob"}, *wrong[] = {"prob", "nothing"};
    float *out[] = {side, maps, prob};
    FILE *f = argc > 2 ? fopen(argv[2], "wb") : NULL;
    for (int i = 0; i < N * 784; i++)
        image[i] = (float)(i * 37 % 101) / 101;
    if (two_open(&net, argv[1], &err) || netrt_outputs(net.net) != 4 || !f)
        return 1;
    if (strcmp(netrt_output_name(net.net, 1), "maps") || netrt_output_name(net.net, 4))
        return 2;
    if (netrt_output_shape(net.net, "maps", dim) != 3 || dim[0] != 3 || dim[2] != 11)
        return 3;
    if (netrt_output_shape(net.net, "nothing", dim) != -1)
        return 4;
    if (two_outputs(&net, image, N, 3, name, out, &err) || two_predict(&net, image, N, again, &err))
        return 5;
    if (memcmp(prob, again, sizeof prob)) /* N is more than a batch */
        return 6;
    if (two_outputs(&net, image, N, 2, wrong, out, &err) != NETRT_EUSAGE || !strstr(err.text, "nothing"))
        return 7;
    err = (rt_error){0};
    for (int i = 0; i < N; i++) { /* each image is its own */
        float one[TWO_SIZE_MAPS], *to[] = {one};
        if (two_outputs(&net, image + i * 784, 1, 1, name + 1, to, &err) ||
            differ(one, maps + i * TWO_SIZE_MAPS))
            return 8;
    }
    two_close(&net);
    return fwrite(side, sizeof side, 1, f) == 1 && fclose(f) == 0 ? 0 : 9;
}
END
headers=$bin/include/netc
[ -f "$headers/netrt.h" ] || headers=$src/runtime
run 0 -- netc build -q --net=Two two.net --lib -o libtwo.a
hold "the C program compiles" "${CC:-cc}" -I "$headers" -I . read.c libtwo.a -L "$bin" -lnetrt \
    -lpng -lturbojpeg -lz -lgomp -lm -o read
run 0 -- ./read run/last.safetensors side.bin
hold "it read 5 x 20 numbers" [ "$(wc -c <side.bin)" = 400 ]

# --- ONNX ---
run 0 -- ./two export -q -w run/last.safetensors -o two.onnx
run 0 -- netc import -q two.onnx -o back
run 0 -- netc check -Werror back.net
for line in 'output prob = softmax(f2)' 'output maps' 'output side = softmax(f3)' 'output f3'; do
    hold "imported again: $line" grep -qx "  $line" back.net
done

# --- looking ---
run 0 -- ./two-viz saliency --layer=side a.pgm --out=named
run 0 -- ./two-viz saliency --layer=f3 a.pgm --out=labelled
hold "an output's name is its score's" cmp named/*.png labelled/*.png
run 0 -- ./Side-viz saliency --weights=run/last.safetensors --layer=f3 a.pgm --out=first
hold "a projection does not depend on which output is first" cmp first/*.png named/*.png
# of the layers that lead to the first output's score: not maps, which only others read
run 0 "maps of c1" -- ./two-viz gradcam a.pgm --out=cam

# --- a class for every step of a sequence ---
cat >tag.net <<'END'
net Tag {
  input x: f32[2, 12]
  input tag: class[3, 12]
  h: conv(8, 3, pad = 1) -> relu
  f: conv(3, 1)
  output tags = softmax(f)
  loss ce: cross_entropy(f, tag)
  metric err: error_rate(argmax(f), tag)
  data { train = npy("x.npy") }
  train { optimizer = adam(2e-2); batch = 20; epochs = 12 }
}
END
cat >steps.c <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
enum { N = 200 };
static FILE *npy(const char *path, const char *type, const char *shape) {
    char head[128];
    FILE *f = fopen(path, "wb");
    memset(head, ' ', 128);
    memcpy(head, "\223NUMPY\1\0v\0", 10);
    head[10 + sprintf(head + 10, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }", type, shape)] = ' ';
    head[127] = '\n';
    fwrite(head, 128, 1, f);
    return f;
}
int main(int argc, char **argv) { /* LABELS PER SAMPLE, WRONG LABEL: 0, 1, 2 by two signs, now and before */
    char shape[40];
    int steps = argc > 2 ? atoi(argv[1]) : 12;
    sprintf(shape, "(%d, %d)", N, steps);
    FILE *x = npy("x.npy", "<f4", "(200, 2, 12)"), *y = npy("y.npy", "<i4", shape);
    srand(1);
    for (int n = 0; n < N; n++) {
        float v[24];
        for (int i = 0; i < 24; i++)
            v[i] = (float)rand() / (float)RAND_MAX * 2 - 1;
        fwrite(v, sizeof v, 1, x);
        for (int t = 0; t < steps; t++) {
            int tag = t == 0 ? -1 : (v[t % 12] > 0) + (v[12 + t % 12 - 1] > 0);
            tag = n == 7 && t == 3 ? atoi(argv[2]) : tag;
            fwrite(&tag, 4, 1, y);
        }
    }
    return fclose(x) || fclose(y);
}
END
hold "a helper compiles" "${CC:-cc}" steps.c -o steps
rm -rf run
run 0 -- netc build -q tag.net
./steps 12 1
run 0 -- ./tag gradcheck
run 0 -- ./tag train -q
run 0 -- ./tag eval -q
hold "first steps have no class: 11 of 12 count" grep -q 'of 2,200 steps' stdout
run 0 -- ./tag eval -q --json
hold "steps are called steps" grep -qF '"steps":2200,"mean_iu"' stdout
run 0 -- ./tag info
hold "a sequence is no picture" grep -qF 'input x: 2x12, channels x steps' stdout
hold "what the step before says is learned" awk 'match($0, /error [0-9.]+/) {
    exit !(substr($0, RSTART + 6, RLENGTH - 6) < 12) }' stdout
run 0 -- ./tag predict --save=tags.npy x.npy
hold "scores of all steps" grep -aq "'shape': (3, 12)" tags.npy
./steps 10 1
run 4 "10 classes for each sample, Tag takes 12" "class\[3, 10\]" -- ./tag eval -q --data=npy:x.npy
./steps 12 300
run 4 "label 87 is 300, not a class of 0 to 254" -- ./tag eval -q --data=npy:x.npy
./steps 12 5
run 4 "6 classes" -- ./tag eval -q --data=npy:x.npy
finish
