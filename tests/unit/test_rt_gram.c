/* test_rt_gram.c: Gram matrices and their gradients against plain sums, in every form of memory that
 * kernels use; cases whose results are known exactly; the state of an optimiser through a file. */
#include "rt_files.h"

#include <math.h>

#include "rt_gram.h"
#include "rt_resume.h"

static float noise(unsigned i) {
    i = i * 2654435761u ^ 0x9e3779b9u;
    i = (i ^ i >> 15) * 2246822519u;
    return (float)((i >> 8) % 20001) / 10000 - 1;
}

/* A layer of c maps, h x w, with a border of one cell and padding lanes of zeros. */
typedef struct Layer {
    rt_maps maps;
    float *memory;
    int64_t floats;
} Layer;

static Layer layer(int64_t c, int64_t h, int64_t w, int64_t lanes, int border) {
    Layer l = {0};
    int64_t row = (w + 2 * border) * lanes, block = (h + 2 * border) * row;
    l.floats = (c + lanes - 1) / lanes * block;
    l.memory = calloc((size_t)l.floats, sizeof(float));
    l.maps = (rt_maps){l.memory + border * (row + lanes), c, h, w, lanes, block, row};
    return l;
}

static float *at(const Layer *l, int64_t c, int64_t cell) {
    const rt_maps *m = &l->maps;
    return m->at + c / m->lanes * m->block + cell / m->w * m->row + cell % m->w * m->lanes +
           c % m->lanes;
}

static rt_gram_how how_with(int64_t c, int64_t cells, int threads, int fma) {
    return (rt_gram_how){threads, fma,
                         malloc((size_t)rt_gram_room(c, cells, threads) * sizeof(float))};
}

/* G and D F of a layer, by one and by three threads, against double sums. */
static void compare(int64_t c, int64_t h, int64_t w, int64_t lanes, int border, int fma) {
    int64_t m = h * w, off = 0;
    Layer f = layer(c, h, w, lanes, border), d[2];
    float *gram[2], *coefficient = malloc((size_t)(c * c) * sizeof(float));
    for (int64_t i = 0; i < c * m; i++)
        *at(&f, i / m, i % m) = noise((unsigned)i);
    for (int64_t i = 0; i < c; i++)
        for (int64_t j = 0; j <= i; j++)
            coefficient[i * c + j] = coefficient[j * c + i] = noise((unsigned)(i * 1000 + j));
    for (int k = 0; k < 2; k++) { /* k 1: add to what is there, where active */
        rt_gram_how how = how_with(c, m, k ? 3 : 1, fma);
        d[k] = layer(c, h, w, k && lanes == 16 ? 8 : lanes, 1 - border);
        gram[k] = malloc((size_t)(c * c) * sizeof(float));
        for (int64_t i = 0; i < c * m; i++)
            *at(&d[k], i / m, i % m) = 2;
        rt_gram(&f.maps, gram[k], &how);
        rt_gram_back(&f.maps, coefficient, &d[k].maps, k, k, &how);
        free(how.room);
    }
    CU_ASSERT_EQUAL(memcmp(gram[0], gram[1], (size_t)(c * c) * sizeof(float)), 0);
    for (int64_t i = 0; i < c; i++)
        for (int64_t j = 0; j < c; j++) {
            double sum = 0;
            for (int64_t k = 0; k < m; k++)
                sum += (double)*at(&f, i, k) * (double)*at(&f, j, k);
            off += fabs(sum - (double)gram[0][i * c + j]) > 1e-6 * (double)m + 1e-6;
            off += gram[0][i * c + j] != gram[0][j * c + i];
        }
    double total[2] = {0}, inside[2] = {0};
    for (int64_t i = 0; i < c * m; i++) {
        double sum = 0;
        for (int64_t j = 0; j < c; j++)
            sum += (double)coefficient[i / m * c + j] * (double)*at(&f, j, i % m);
        double got[2] = {(double)*at(&d[0], i / m, i % m), (double)*at(&d[1], i / m, i % m)};
        double part = *at(&f, i / m, i % m) > 0 ? sum : 0;
        off += fabs(got[0] - sum) > 1e-6 * (double)c + 1e-6;
        off += fabs(got[1] - 2 - part) > 1e-6 * (double)c + 1e-6;
        for (int k = 0; k < 2; k++)
            inside[k] += fabs(got[k]);
    }
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < d[k].floats; i++)
            total[k] += fabs((double)d[k].memory[i]);
    for (int k = 0; k < 2; k++) /* borders and padding lanes are as they were: zero */
        off += fabs(total[k] - inside[k]) > 1e-9 * total[k];
    if (off)
        printf("%ld maps of %ld x %ld, %ld lanes: %ld numbers are wrong\n", (long)c, (long)h, (long)w,
               (long)lanes, (long)off);
    CU_ASSERT_EQUAL(off, 0);
    for (int k = 0; k < 2; k++) {
        free(d[k].memory);
        free(gram[k]);
    }
    free(f.memory);
    free(coefficient);
}

static void plain_sums(void) {
    static const int64_t size[][3] = {{1, 1, 1}, {3, 5, 7}, {16, 9, 9}, {17, 4, 33}, {70, 6, 11},
                                      {5, 40, 61}, {160, 3, 50}};
    for (int s = 0; s < 7; s++)
        for (int64_t lanes = 1; lanes <= 16; lanes *= lanes == 1 ? 4 : 2)
            for (int fma = 0; fma < 2; fma++)
                compare(size[s][0], size[s][1], size[s][2], lanes, (int)(lanes / 4 % 2), fma);
}

/* Integers: every order of sums is exact. */
static void known(void) {
    enum { MAPS = 21, CELLS = 700 };
    static float a[MAPS * CELLS], b[MAPS * CELLS], ga[MAPS * MAPS], gb[MAPS * MAPS];
    rt_gram_how how = how_with(MAPS, CELLS, 2, 1);
    rt_maps fa = rt_maps_plain(a, MAPS, 7, 100), fb = rt_maps_plain(b, MAPS, 7, 100);
    for (int i = 0; i < MAPS; i++) /* constant maps: G_ij = M c_i c_j */
        for (int k = 0; k < CELLS; k++)
            a[i * CELLS + k] = (float)(i - 8);
    rt_gram(&fa, ga, &how);
    for (int i = 0; i < MAPS; i++)
        for (int j = 0; j < MAPS; j++)
            CU_ASSERT(ga[i * MAPS + j] == (float)(CELLS * (i - 8) * (j - 8)));
    for (int i = 0; i < MAPS; i++) /* any order of the cells gives the same matrix */
        for (int k = 0; k < CELLS; k++) {
            a[i * CELLS + k] = (float)((i * 31 + k * 17) % 23 - 11);
            b[i * CELLS + (k * 299 + 5) % CELLS] = a[i * CELLS + k];
        }
    rt_gram(&fa, ga, &how);
    rt_gram(&fb, gb, &how);
    CU_ASSERT_EQUAL(memcmp(ga, gb, sizeof ga), 0);
    free(how.room);
}

/* ---- states ---- */

/* f = sum of (i + 1) (x - i / 10)^2 + x^4 */
static int bowl(void *context, const float *x, double *value, float *g, rt_error *err) {
    int64_t n = *(const int64_t *)context;
    (void)err;
    *value = 0;
    for (int64_t i = 0; i < n; i++) {
        double v = (double)x[i], d = v - (double)i / 10;
        *value += (double)(i + 1) * d * d + v * v * v * v;
        g[i] = (float)(2 * (double)(i + 1) * d + 4 * v * v * v);
    }
    return 0;
}

static void go(rt_lbfgs *l, int steps) {
    rt_error err = {0};
    int moved;
    while (steps-- > 0)
        CU_ASSERT_EQUAL(rt_lbfgs_step(l, &moved, &err), 0);
}

static void resumes(void) {
    enum { N = 40 };
    float straight[N] = {0}, first[N] = {0}, second[N] = {0};
    int64_t n = N;
    rt_lbfgs a, b, c;
    rt_error err = {0};
    rt_kept part[RT_RESUME_PARTS];
    double room[RT_RESUME_ROOM];
    const char *path = in_dir("climb.state");
    uint64_t print = rt_resume_mix(RT_RESUME_START, "net", 3);
    CU_ASSERT_EQUAL_FATAL(rt_lbfgs_open(&a, bowl, &n, straight, N, 4, 0.1, &err), 0);
    CU_ASSERT_EQUAL_FATAL(rt_lbfgs_open(&b, bowl, &n, first, N, 4, 0.1, &err), 0);
    go(&a, 12);
    go(&b, 6);
    CU_ASSERT_EQUAL(rt_resume_write(path, print, part, rt_lbfgs_parts(&b, part, room), &err), 0);
    CU_ASSERT_EQUAL_FATAL(rt_lbfgs_open(&c, bowl, &n, second, N, 4, 0.1, &err), 0);
    CU_ASSERT_EQUAL(rt_resume_read(path, print + 1, part, rt_lbfgs_parts(&c, part, room), &err),
                    NETRT_EUSAGE);
    err = (rt_error){0};
    CU_ASSERT_EQUAL(rt_resume_read(path, print, part, rt_lbfgs_parts(&c, part, room), &err), 0);
    CU_ASSERT_EQUAL(rt_lbfgs_take(&c, room, &err), 0);
    go(&c, 6);
    CU_ASSERT(a.value > 0 && c.value == a.value && c.evaluations == a.evaluations);
    CU_ASSERT_EQUAL(memcmp(straight, second, sizeof straight), 0);
    room[1] = 99; /* a pair that cannot be */
    CU_ASSERT_EQUAL(rt_lbfgs_take(&c, room, &err), NETRT_EDATA);
    err = (rt_error){0};
    CU_ASSERT_EQUAL(truncate(path, 300), 0);
    CU_ASSERT_NOT_EQUAL(rt_resume_read(path, print, part, rt_lbfgs_parts(&c, part, room), &err), 0);
    err = (rt_error){0};
    CU_ASSERT_EQUAL(rt_resume_read(in_dir("none.state"), print, part, 1, &err), NETRT_EUSAGE);
    rt_lbfgs_close(&a);
    rt_lbfgs_close(&b);
    rt_lbfgs_close(&c);
}

SUITE_MAIN(TEST(plain_sums), TEST(known), TEST(resumes))
