#!/usr/bin/env bash
# lib.sh: a network as a library: libNAME.a or .so and NAME.h, used from C and from C++; failures come
# back as codes, nothing prints or exits.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

cc=${CC:-cc}
tiny tiny
tiny "second net"
mkdir "a folder"
run 0 -- netc build -q --lib tiny.net
run 0 -- netc build -q --lib=so tiny.net
run 0 -- netc build -q --lib "second net.net" -o "a folder/"
for f in libtiny.a libtiny.so tiny.h "a folder/libsecond net.a" "a folder/second net.h"; do
    hold "$f is made" [ -s "$f" ]
done
run 0 -- netc build -q tiny.net
run 0 -- ./tiny train -q --epochs=1

cat >use.c <<'C'
#include "tiny.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed;
#define HOLD(what)                                                                                 \
    if (!(what)) {                                                                                 \
        fprintf(stderr, "line %d: %s\n", __LINE__, #what);                                         \
        failed++;                                                                                  \
    }

static float images[16 * TINY_CHANNELS * TINY_HEIGHT * TINY_WIDTH];
static int32_t labels[16];
static float before[16 * TINY_CLASSES], after[16 * TINY_CLASSES];

int main(int argc, char **argv) {
    rt_error err = {0};
    tiny m, n;
    double loss = -1, first = -1;
    (void)argc;
    HOLD(TINY_CHANNELS == 1 && TINY_HEIGHT == 28 && TINY_WIDTH == 28 && TINY_CLASSES == 10);
    HOLD(tiny_open(&m, NULL, &err) == 0 && m.net != NULL);
    for (int i = 0; i < (int)(sizeof images / sizeof *images); i++)
        images[i] = (float)((i * 7919 + i / 784 * 131) % 256) / 255;
    for (int i = 0; i < 16; i++)
        labels[i] = i % TINY_CLASSES;
    HOLD(tiny_predict(&m, images, 16, before, &err) == 0);
    for (int i = 0; i < 16; i++) { /* probabilities */
        float sum = 0;
        for (int k = 0; k < TINY_CLASSES; k++)
            sum += before[i * TINY_CLASSES + k];
        HOLD(fabsf(sum - 1) < 1e-5f);
    }
    for (int i = 0; i < 30; i++) {
        HOLD(tiny_step(&m, images, labels, 16, &loss, &err) == 0);
        first = i == 0 ? loss : first;
    }
    HOLD(isfinite(loss) && loss < first);
    HOLD(tiny_predict(&m, images, 16, after, &err) == 0);
    HOLD(memcmp(before, after, sizeof before) != 0);

    /* what fails comes back as a code and a text, and leaves the weights */
    static const struct { const char *path; int code; } bad[] = {
        {"nowhere.safetensors", NETRT_EIO}, {"tiny.net", NETRT_EDATA}, {"/", NETRT_EIO}};
    for (int i = 0; i < 3; i++) {
        rt_error e = {0};
        HOLD(netrt_load(m.net, bad[i].path, 0, &e) == bad[i].code);
        HOLD(e.code == bad[i].code && strstr(e.text, bad[i].path));
        HOLD(netrt_load(m.net, bad[i].path, 0, NULL) == bad[i].code); /* err may be NULL */
        rt_error f = {0};
        HOLD(tiny_open(&n, bad[i].path, &f) == bad[i].code && n.net == NULL);
    }
    HOLD(tiny_predict(&m, images, 16, before, &err) == 0);
    HOLD(memcmp(before, after, sizeof before) == 0);
    rt_error e = {0};
    HOLD(tiny_save(&m, "no/such/folder/w.safetensors", &e) == NETRT_EIO && e.text[0]);
    rt_error e2 = {0};
    labels[3] = 10;
    HOLD(tiny_step(&m, images, labels, 16, &loss, &e2) != 0);
    labels[3] = -1;
    HOLD(tiny_step(&m, images, labels, 16, &loss, NULL) != 0);
    labels[3] = 3;
    HOLD(tiny_step(&m, images, labels, 1000000, &loss, NULL) != 0);
    HOLD(tiny_step(&m, images, labels, 0, &loss, NULL) != 0);
    rt_error e3 = {0};
    HOLD(tiny_image(&m, "tiny.net", images, &e3) == NETRT_EDATA);
    HOLD(tiny_image(&m, "nowhere.png", images, NULL) == NETRT_EIO);
    HOLD(tiny_image(&m, argv[1], images, NULL) == 0);

    /* two networks at once; one loads what the other saved */
    HOLD(tiny_save(&m, "saved.safetensors", &err) == 0);
    HOLD(tiny_open(&n, "saved.safetensors", &err) == 0);
    for (int64_t batch = 1; batch <= 16; batch += 5) {
        HOLD(tiny_predict(&m, images, batch, before, &err) == 0);
        HOLD(tiny_predict(&n, images, batch, after, &err) == 0);
        HOLD(memcmp(before, after, (size_t)(batch * TINY_CLASSES) * sizeof *before) == 0);
    }
    tiny_close(&n);
    tiny_close(&n); /* twice is allowed */
    tiny_close(&m);
    if (err.code)
        fprintf(stderr, "%s\n", err.text);
    return failed ? 1 : 0;
}
C
flags=(-O1 -Wall -Wextra -Wpedantic -Werror "-I$src/runtime" -I.)
libs=(-lpng -lturbojpeg -lz -lgomp -lm)
pgm p.pgm 28 5
hold "C, static" "$cc" -std=c11 "${flags[@]}" use.c libtiny.a "${libs[@]}" -o use-a
run 0 -- ./use-a p.pgm
hold "the library prints nothing" [ ! -s stdout -a ! -s stderr ]
hold "C99" "$cc" -std=c99 "${flags[@]}" -fsyntax-only -x c tiny.h
hold "C, shared" "$cc" -std=c11 "${flags[@]}" use.c -L. -ltiny "${libs[@]}" -Wl,-rpath,"$work" -o use-so
run 0 -- ./use-so p.pgm
if have g++ && [ -z "${CC:-}" ]; then
    sed 's/rt_error \(.*\) = {0}/rt_error \1 = {}/' use.c >use.cpp
    hold "C++" g++ -std=c++17 "${flags[@]}" use.cpp libtiny.a "${libs[@]}" -o use-cpp
    run 0 -- ./use-cpp p.pgm
fi
# the same numbers as the program
same "the library's weights are the program's kind" <(head -c 300 saved.safetensors | tr -d '0-9a-f' | head -c 60) \
    <(head -c 300 run/last.safetensors | tr -d '0-9a-f' | head -c 60)
run 0 -- ./tiny predict -q --json --weights=saved.safetensors p.pgm
# two different networks in one program
sed 's/class\[10\]/class[12]/; s/dense(10)/dense(12)/; s/digits(600, seed = 1)/folder("x")/g' tiny.net >wide.net
run 0 -- netc build -q --lib wide.net
cat >two.c <<'C'
#include "tiny.h"
#include "wide.h"
int main(void) {
    tiny a;
    wide b;
    if (tiny_open(&a, 0, 0) || wide_open(&b, 0, 0))
        return 1;
    int good = netrt_classes(a.net) == 10 && netrt_classes(b.net) == 12;
    tiny_close(&a), wide_close(&b);
    return !good;
}
C
hold "two libraries in one program" "$cc" -std=c11 "${flags[@]}" two.c libtiny.a libwide.a "${libs[@]}" -o two
run 0 -- ./two
# names that are words of C: the header must still compile
for word in int class default; do
    tiny $word
    run 0 -- netc build -q --lib $word.net
    hold "$word.h is C" "$cc" "${flags[@]}" -fsyntax-only -x c $word.h
    ! have g++ || hold "$word.h is C++" g++ "${flags[@]}" -fsyntax-only -x c++ $word.h
done
finish
