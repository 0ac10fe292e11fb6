#!/usr/bin/env bash
# objective.sh: objectives of pictures by optimisation, on compiled networks: every kind of term
# against central differences, several layers in one walk against one walk per layer, the Gram matrix
# against plain sums; all of it the same for 1 and 2 threads.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

cc=${CC:-cc}
cat >smooth.net <<'N'
net Smooth {
  input image: f32[2, 13, 11]
  input digit: class[5]
  c1: conv(6, 3x3, pad = 1) -> tanh
  p1: avgpool(2x2)
  c2: conv(7, 3x3, pad = 1) -> tanh
  c3: conv(7, 1x1)
  s:  add(c2, c3) -> tanh
  f:  dense(5)
  output prob = softmax(f)
  loss ce: cross_entropy(f, digit)
  train { optimizer = sgd(lr = 0.1); batch = 4; epochs = 1 }
}
N
sed 's/Smooth/Kinked/; s/tanh/relu/g; s/avgpool/maxpool/' smooth.net >kinked.net
cat >use.c <<'C'
#include "rt_objective.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const rt_model MODEL;
enum { C = 2, H = 13, W = 11, N = 3, PIXELS = C * H * W };
static int failed;
static float image[N * PIXELS], other[N * PIXELS], diff[N * PIXELS], one[N * PIXELS];
static float target[6 * H * W], gram[49];
static netrt *m;
static rt_look look;

static float noise(unsigned i) {
    i = i * 2654435761u ^ 0x9e3779b9u;
    i = (i ^ i >> 15) * 2246822519u;
    return (float)((i >> 8) % 20001) / 10000 - 1;
}

static void evaluate(const rt_term *term, int n, const float *x, double *value, float *g) {
    rt_objective o;
    rt_error err = {0};
    if (rt_objective_open(&o, &look, term, n, &err) || rt_objective_eval(&o, x, N, value, g, &err)) {
        printf("error %d: %s\n", err.code, err.text);
        failed++;
    }
    rt_objective_close(&o);
}

static double dot(const float *a, const float *b) {
    double sum = 0;
    for (int i = 0; i < N * PIXELS; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* Along a random direction the values' difference is the gradient's product with it. */
static void slope(const char *what, const rt_term *term, int n) {
    double value[N], up[N], down[N], worst = 0;
    evaluate(term, n, image, value, diff);
    for (int trial = 0; trial < 4; trial++) {
        const double h = KINKED ? 2e-4 : 4e-3;
        for (int i = 0; i < N * PIXELS; i++)
            one[i] = noise((unsigned)(i + 7777 * (trial + 1)));
        for (int i = 0; i < N * PIXELS; i++)
            other[i] = image[i] + (float)h * one[i];
        evaluate(term, n, other, up, NULL);
        for (int i = 0; i < N * PIXELS; i++)
            other[i] = image[i] - (float)h * one[i];
        evaluate(term, n, other, down, NULL);
        double rise = 0, size = 0;
        for (int i = 0; i < N; i++) {
            rise += (up[i] - down[i]) / (2 * h);
            size += fabs(value[i]);
        }
        double want = dot(diff, one), off = fabs(rise - want) / (fabs(want) + 0.02 * size + 0.01);
        worst = off > worst ? off : worst;
    }
    printf("%-8s value %.9g, off by %.2g\n", what, value[0], worst);
    if (!(worst < (KINKED ? 0.03 : 2e-3)))
        printf("    the gradient is wrong\n"), failed++;
}

int main(int argc, char **argv) {
    (void)argc;
    netrt_options options = {.threads = argv[1][0] - '0', .seed = 5};
    rt_error err = {0};
    if (netrt_open(&MODEL, &options, &m, &err) || rt_look_open(&look, m, N, &err)) {
        printf("error %d: %s\n", err.code, err.text);
        return 1;
    }
    for (int i = 0; i < N * PIXELS; i++)
        image[i] = noise((unsigned)i);
    for (int i = 0; i < 6 * H * W; i++)
        target[i] = noise((unsigned)i + 99u) / 2;
    for (int i = 0; i < 49; i++)
        gram[i] = noise((unsigned)(i / 7 + i % 7) + 5u); /* symmetric, as Gram matrices are */
    int c1 = rt_seed_find(&MODEL, "c1"), c2 = rt_seed_find(&MODEL, "c2"),
        s = rt_seed_find(&MODEL, "s"), f = rt_seed_find(&MODEL, "f");
    if (c1 < 0 || c2 < 0 || s < 0 || f < 0)
        return 2;
    rt_term all[] = {
        {RT_TERM_UNIT, f, -1, {3, 0, 0}, 1.5, NULL}, {RT_TERM_MAP, c2, -1, {4, 0, 0}, 0.3, NULL},
        {RT_TERM_LAYER, s, -1, {0, 0, 0}, 0.7, NULL}, {RT_TERM_INNER, c1, -1, {0, 0, 0}, 0.5, target},
        {RT_TERM_MATCH, c1, -1, {0, 0, 0}, 0.2, target}, {RT_TERM_GRAM, c2, -1, {0, 0, 0}, 0.01, gram},
        {RT_TERM_CROSS, f, -1, {2, 0, 0}, 3, NULL},
        {KINKED ? RT_TERM_GUIDE : RT_TERM_LAYER, c2, -1, {0, 0, 0}, 0.5, target}, {RT_TERM_UNIT, s, 1, {2, 3, 1}, 2, NULL}};
    static const char *const name[] = {"unit", "map", "layer", "inner", "match", "gram", "cross", "guide", "of one"};
    enum { TERMS = sizeof all / sizeof *all };
    for (int i = 0; i < TERMS; i++)
        slope(name[i], &all[i], 1);
    slope("all", all, TERMS);
    for (int turn = 0; turn < N; turn++) { /* walks that begin at other layers, in any order of images */
        rt_term own[N] = {all[0], all[1], all[3]};
        for (int i = 0; i < N; i++)
            own[i].image = (i + turn) % N;
        evaluate(all, TERMS, image, (double[N]){0}, diff); /* what an earlier walk left is not found */
        slope("own", own, N);
    }

    /* one walk for all layers is the sum of the walks of each */
    double value[N], part[N], sum[N] = {0};
    static double want[N * PIXELS];
    evaluate(all, TERMS, image, value, diff);
    for (int i = 0; i < TERMS; i++) {
        evaluate(&all[i], 1, image, part, one);
        for (int k = 0; k < N * PIXELS; k++)
            want[k] += (double)one[k];
        for (int k = 0; k < N; k++)
            sum[k] += part[k];
    }
    double worst = 0;
    for (int i = 0; i < N * PIXELS; i++)
        worst = fmax(worst, fabs(want[i] - (double)diff[i]) / (fabs(want[i]) + 1e-2));
    printf("walks    off by %.2g\n", worst);
    if (!(worst < 2e-5) || fabs(sum[2] - value[2]) > 1e-5 * fabs(sum[2]))
        printf("    one walk differs from several\n"), failed++;

    /* Gram matrix of more cells and rows than one block holds */
    static float a[7 * 5003], g[49];
    for (int i = 0; i < 7 * 5003; i++)
        a[i] = noise((unsigned)i);
    rt_maps cells = rt_maps_plain(a, 7, 1, 5003);
    rt_gram_how how = {options.threads, 1, malloc((size_t)rt_gram_room(7, 5003, 9) * sizeof(float))};
    rt_gram(&cells, g, &how);
    free(how.room);
    for (int i = 0; i < 7; i++)
        for (int j = 0; j < 7; j++) {
            double exact = 0;
            for (int k = 0; k < 5003; k++)
                exact += (double)a[i * 5003 + k] * (double)a[j * 5003 + k];
            if (fabs(exact - (double)g[i * 7 + j]) > 2e-3 || g[i * 7 + j] != g[j * 7 + i])
                printf("gram %d %d: %g, not %g\n", i, j, (double)g[i * 7 + j], exact), failed++;
        }
    FILE *out = fopen(argv[2], "wb");
    fwrite(diff, sizeof diff, 1, out);
    fwrite(value, sizeof value, 1, out);
    fclose(out);
    rt_look_close(&look);
    netrt_close(m);
    return failed ? 1 : 0;
}
C
for net in smooth kinked; do
    run 0 -- netc build -q --lib $net.net
    kinked=0
    [ $net = smooth ] || kinked=1
    hold "$net: the test compiles" "$cc" -std=gnu11 -O1 "-I$src/runtime" "-I$src/runtime/data" \
        "-I$src/runtime/look" -DMODEL=${net}_model \
        -DKINKED=$kinked use.c lib$net.a -lpng -lturbojpeg -lz -lgomp -lm -o use-$net
    run 0 -- ./use-$net 1 $net.1
    [ $failures -eq 0 ] || cat stdout
    run 0 -- ./use-$net 2 $net.2
    same "$net: one thread and two" $net.1 $net.2
done
finish
