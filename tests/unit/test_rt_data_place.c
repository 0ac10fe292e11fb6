/* test_rt_data_place.c: random crops, sizes and parts of pictures, the ten crops of a test, elastic
 * distortion and PCA colour, each against a plain reference in double; amounts of nothing leave
 * every byte as it was; batches are the same for any number of threads, with and without a cache.
 */
#include <math.h>
#include <string.h>

#include "rt_files.h"
#include "rt_toy.h"

#include "rt_augment.h"
#include "rt_feed.h"
#include "rt_place.h"
#include "rt_rng.h"

enum { SIDE = 12, N = SIDE * SIDE };
static float room[5 * 40 * 40];

static struct rt_prep prep(int channels, int h, int w) {
    struct rt_prep p = {.channels = channels, .height = h, .width = w, .lo = 0, .hi = 1};
    for (int i = 0; i < 4; i++)
        p.std[i] = 1;
    return p;
}

static void noise_image(rt_image *img, int w, int h, int c) {
    rt_error err = {0};
    CU_ASSERT_EQUAL_FATAL(rt_image_reserve(img, w, h, c, &err), 0);
    noise_bytes(img->data, (size_t)w * (size_t)h * (size_t)c);
}

/* The window at (x, y) of img padded with zeros. */
static int is_window(const rt_image *img, const float *chw, int side, int x, int y) {
    for (int c = 0; c < img->channels; c++)
        for (int i = 0; i < side; i++)
            for (int j = 0; j < side; j++) {
                int sx = x + j, sy = y + i;
                int in = sx >= 0 && sy >= 0 && sx < img->width && sy < img->height;
                double v = in ? img->data[(sy * img->width + sx) * img->channels + c] / 255.0 : 0;
                if (fabs((double)chw[(c * side + i) * side + j] - v) > 1e-6)
                    return 0;
            }
    return 1;
}

/* Crops with a border of 3 out of pictures of all sizes: windows of the padded picture, every place
 * of it, the same for the same key. */
static void crops(void) {
    float a[RT_AUGMENT_COUNT] = {0};
    rt_error err = {0};
    rt_image img = {0}, tmp[2] = {{0}, {0}};
    a[RT_AUGMENT_CROP] = 1 + 3;
    for (int size = 0; size < 3; size++) {
        static const int sides[3][2] = {{SIDE, SIDE}, {SIDE + 2, SIDE + 5}, {SIDE - 2, SIDE + 1}};
        int seen[2][24] = {{0}}, w = sides[size][0], h = sides[size][1];
        struct rt_prep p = prep(3, SIDE, SIDE);
        noise_image(&img, w, h, 3);
        for (int k = 0; k < 400; k++) {
            struct rt_place q, again;
            float v[3 * N];
            int how = rt_place_random(a, &p, w, h, 9, 2, k, &q);
            CU_ASSERT_EQUAL(how, size == 0 ? RT_PLACE_SHIFT : RT_PLACE_PART);
            CU_ASSERT(rt_place_random(a, &p, w, h, 9, 2, k, &again) == how &&
                      memcmp(&q, &again, sizeof q) == 0);
            CU_ASSERT_FATAL(q.x >= -3 && q.y >= -3 && q.x + SIDE <= w + 3 && q.y + SIDE <= h + 3);
            seen[0][q.x + 3]++;
            seen[1][q.y + 3]++;
            CU_ASSERT_EQUAL(rt_prep_apply_at(&p, &q, &img, v, tmp, &err), 0);
            CU_ASSERT(is_window(&img, v, SIDE, q.x, q.y));
            if (how == RT_PLACE_SHIFT) { /* the same bits when whole samples are moved */
                float u[3 * N], zero[3] = {0, 0, 0};
                CU_ASSERT_EQUAL(rt_prep_apply(&p, &img, u, tmp, &err), 0);
                rt_place_shift(u, 3, SIDE, SIDE, q.x, q.y, zero, room);
                CU_ASSERT(memcmp(u, v, sizeof u) == 0);
            }
        }
        for (int x = 0; x <= w + 6 - SIDE; x++)
            CU_ASSERT(seen[0][x] > 5);
        for (int y = 0; y <= h + 6 - SIDE; y++)
            CU_ASSERT(seen[1][y] > 5);
    }
    rt_image_free(&img);
    rt_image_free(&tmp[0]);
    rt_image_free(&tmp[1]);
}

/* Shorter sides of 14 to 20 all occur and keep the aspect; parts have the area and shape asked. */
static void jitter_and_parts(void) {
    float a[RT_AUGMENT_COUNT] = {0}, b[RT_AUGMENT_COUNT] = {0};
    struct rt_prep p = prep(1, SIDE, SIDE);
    struct rt_place q;
    int seen[21] = {0}, left = 0, wide = 0;
    a[RT_AUGMENT_SHORT_LO] = 14;
    a[RT_AUGMENT_SHORT_HI] = 20;
    a[RT_AUGMENT_CROP] = 1;
    b[RT_AUGMENT_AREA_LO] = 0.08f;
    b[RT_AUGMENT_AREA_HI] = 1;
    for (int k = 0; k < 400; k++) {
        CU_ASSERT_EQUAL(rt_place_random(a, &p, 60, 40, 1, 0, k, &q), RT_PLACE_PART);
        CU_ASSERT_FATAL(q.h >= 14 && q.h <= 20 && q.w == q.h * 60 / 40);
        CU_ASSERT(q.x >= 0 && q.y >= 0 && q.x + SIDE <= q.w && q.y + SIDE <= q.h);
        seen[q.h]++;
        CU_ASSERT_EQUAL(rt_place_random(b, &p, 60, 40, 1, 0, k, &q), RT_PLACE_PART);
        double area = (double)q.part_w * q.part_h / 2400, ratio = (double)q.part_w / q.part_h;
        CU_ASSERT(area > 0.07 && area <= 1 && ratio > 0.69 && ratio < 1.45);
        CU_ASSERT(q.part_x >= 0 && q.part_x + q.part_w <= 60);
        CU_ASSERT(q.part_y >= 0 && q.part_y + q.part_h <= 40);
        CU_ASSERT(q.w == SIDE && q.h == SIDE && q.x == 0 && q.y == 0);
        left += q.part_x < 5;
        wide += ratio > 1;
    }
    for (int s = 14; s <= 20; s++)
        CU_ASSERT(seen[s] > 20);
    CU_ASSERT(left > 20 && left < 380 && wide > 100 && wide < 300);
    b[RT_AUGMENT_AREA_LO] = 1; /* never fits: the largest part of an allowed shape */
    rt_place_random(b, &p, 300, 10, 1, 0, 0, &q);
    CU_ASSERT(q.part_w == 13 && q.part_h == 10 && q.part_x == 143 && q.part_y == 0);
    rt_place_random(b, &p, 1, 90, 1, 0, 0, &q);
    CU_ASSERT(q.part_w == 1 && q.part_h == 1);
}

static void views(void) {
    static const int at[5][2] = {{0, 0}, {6, 0}, {0, 2}, {6, 2}, {3, 1}};
    struct rt_prep p = prep(1, SIDE, SIDE);
    struct rt_place q;
    p.resize_short = SIDE + 2;
    for (int view = 1; view <= 10; view++) {
        rt_place_view(&p, 36, 28, view, &q); /* 18 x 14 after resizing */
        CU_ASSERT(q.w == 18 && q.h == 14);
        CU_ASSERT(q.x == at[(view - 1) % 5][0] && q.y == at[(view - 1) % 5][1]);
    }
    p.resize_short = 0;
    rt_place_view(&p, 5, 40, 4, &q); /* too narrow: stretched */
    CU_ASSERT(q.w == SIDE && q.h == SIDE && q.x == 0 && q.y == 0);
}

/* ---- elastic ---- */

/* One displacement by the definition: noise of all pixels under a Gaussian of 3 sigma. */
static double displacement(int h, int w, int x, int y, int axis, double alpha, double sigma,
                           uint64_t seed, int64_t epoch, int64_t sample) {
    rt_rng rng = rt_rng_make(seed, RT_RNG_AUGMENT);
    int radius = (int)ceil(3 * sigma);
    double sum = 0, norm = 0;
    for (int k = -radius; k <= radius; k++)
        norm += exp(-0.5 * k * k / (sigma * sigma));
    for (int v = 0; v < h; v++)
        for (int u = 0; u < w; u++) {
            int64_t i = (int64_t)axis * h * w + v * w + u;
            uint32_t r[4];
            if (abs(u - x) > radius || abs(v - y) > radius)
                continue;
            rt_rng_block(rng, (uint32_t)epoch, (uint32_t)sample, (uint32_t)(sample >> 32),
                         (1 << 16) + (uint32_t)(i / 4), r);
            double g = exp(-0.5 * ((u - x) * (u - x) + (v - y) * (v - y)) / (sigma * sigma));
            sum += (2 * (double)rt_rng_unit(r[i % 4]) - 1) * g;
        }
    return alpha * sum / (norm * norm);
}

static double pixel(const float *v, int h, int w, int y, int x) {
    return x >= 0 && y >= 0 && x < w && y < h ? (double)v[y * w + x] : 0;
}

static double bilinear(const float *v, int h, int w, double x, double y) {
    double fx = x - floor(x), fy = y - floor(y);
    int i = (int)floor(y), j = (int)floor(x);
    return (pixel(v, h, w, i, j) * (1 - fx) + pixel(v, h, w, i, j + 1) * fx) * (1 - fy) +
           (pixel(v, h, w, i + 1, j) * (1 - fx) + pixel(v, h, w, i + 1, j + 1) * fx) * fy;
}

static void elastic(void) {
    static const struct {
        int h, w;
        float alpha, sigma;
    } cases[] = {{12, 12, 8, 2}, {9, 17, 34, 4}, {28, 28, 3, 0.6f}, {1, 30, 6, 3}, {16, 5, 200, 8}};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        int h = cases[k].h, w = cases[k].w;
        float a[RT_AUGMENT_COUNT] = {0}, src[28 * 28], v[28 * 28];
        struct rt_prep p = prep(1, h, w);
        double worst = 0, moved = 0;
        a[RT_AUGMENT_ELASTIC] = cases[k].alpha;
        a[RT_AUGMENT_SIGMA] = cases[k].sigma;
        for (int i = 0; i < h * w; i++)
            src[i] = v[i] = (float)(i * 7 % 31) / 31;
        rt_augment_apply(a, &p, 0, 0, 5, 1, (int64_t)1 << 33, v, NULL, room);
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                double s = (double)cases[k].sigma, f = (double)cases[k].alpha;
                double dx = displacement(h, w, x, y, 0, f, s, 5, 1, (int64_t)1 << 33);
                double dy = h == 1 ? 0 : displacement(h, w, x, y, 1, f, s, 5, 1, (int64_t)1 << 33);
                double want = bilinear(src, h, w, x + dx, y + dy);
                worst = fmax(worst, fabs(want - (double)v[y * w + x]));
                moved = fmax(moved, fabs(dx));
            }
        if (!(worst < 2e-4) || !(moved > 0.05))
            printf("elastic case %zu: off by %g, moved by %g\n", k, worst, moved);
        CU_ASSERT(worst < 2e-4 && moved > 0.05);
    }
}

/* Classes move with their pixels. */
static void maps_follow(void) {
    float a[RT_AUGMENT_COUNT] = {0}, v[N];
    int32_t map[N];
    int outside = 0, wrong = 0;
    struct rt_prep p = prep(1, SIDE, SIDE);
    a[RT_AUGMENT_TRANSLATE] = 4;
    a[RT_AUGMENT_ROTATE] = 40;
    a[RT_AUGMENT_ELASTIC] = 10;
    a[RT_AUGMENT_SIGMA] = 3;
    for (int i = 0; i < N; i++) { /* halves: class 3 is bright */
        map[i] = i % SIDE < SIDE / 2 ? 1 : 3;
        v[i] = map[i] == 3 ? 1 : 0.25f;
    }
    rt_augment_apply(a, &p, 0, 0, 5, 1, 3, v, map, room);
    for (int i = 0; i < N; i++) {
        outside += map[i] == -1;
        wrong += (v[i] > 0.9f && map[i] != 3) || (v[i] == 0.25f && map[i] != 1) ||
                 (v[i] == 0 && map[i] != -1);
    }
    CU_ASSERT(outside > 5 && outside < N / 2 && wrong == 0);
}

/* ---- colour ---- */

static void pca(void) {
    /* Q diag(0.2, 0.03, 0.004) Q' with Q = the axes (1,1,1), (1,-1,0), (1,1,-2), normalised */
    static const double axis[3][3] = {{1, 1, 1}, {1, -1, 0}, {1, 1, -2}},
                        value[3] = {.2, .03, .004};
    double s[3][3] = {{0}}, n[3] = {sqrt(3), sqrt(2), sqrt(6)};
    float m[9];
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++)
                s[i][j] += value[k] * axis[k][i] / n[k] * axis[k][j] / n[k];
    rt_augment_pca((const double(*)[3])s, m);
    for (int k = 0; k < 3; k++) { /* each column is an axis times its value, in any order */
        double best = 1;
        for (int j = 0; j < 3; j++) {
            double d[2] = {0, 0};
            for (int i = 0; i < 3; i++)
                for (int sign = 0; sign < 2; sign++)
                    d[sign] = fmax(d[sign], fabs((double)m[3 * i + j] * (sign ? -1 : 1) -
                                                 axis[k][i] / n[k] * value[k]));
            best = fmin(best, fmin(d[0], d[1]));
        }
        CU_ASSERT(best < 1e-7);
    }
    float a[RT_AUGMENT_COUNT] = {0};
    struct rt_prep p = prep(3, 1, 1);
    double sum[3][3] = {{0}}, mean[3] = {0, 0, 0};
    a[RT_AUGMENT_PCA] = 0.1f;
    memcpy(&a[RT_AUGMENT_PCA_MATRIX], m, sizeof m);
    for (int k = 0; k < 4000; k++) { /* covariance of what is added: 0.01 m m' */
        float v[3] = {0.5f, 0.5f, 0.5f};
        rt_augment_apply(a, &p, 0, 0, 3, 0, k, v, NULL, room);
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++) {
                sum[i][j] += ((double)v[i] - 0.5) * ((double)v[j] - 0.5) / 4000;
                mean[i] += j ? 0 : ((double)v[i] - 0.5) / 4000;
            }
    }
    for (int i = 0; i < 3; i++) {
        CU_ASSERT(fabs(mean[i]) < 1e-3);
        for (int j = 0; j < 3; j++) {
            double want = 0;
            for (int k = 0; k < 3; k++)
                want += 0.01 * (double)m[3 * i + k] * (double)m[3 * j + k];
            CU_ASSERT_DOUBLE_EQUAL(sum[i][j], want, 2e-5);
        }
    }
    float grey[1] = {0.5f}; /* a grey picture has no colours */
    struct rt_prep one = prep(1, 1, 1);
    rt_augment_apply(a, &one, 0, 0, 3, 0, 1, grey, NULL, room);
    CU_ASSERT_EQUAL(grey[0], 0.5f);
}

static void sound(void) {
    float a[RT_AUGMENT_COUNT] = {0};
    double t, g, least = 9, most = -9, soft = 9, loud = 0;
    rt_augment_sound(a, 1, 0, 0, &t, &g);
    CU_ASSERT(t == 0 && g == 1);
    a[RT_AUGMENT_SHIFT] = 0.25f;
    a[RT_AUGMENT_GAIN] = 6;
    for (int k = 0; k < 500; k++) {
        rt_augment_sound(a, 1, 0, k, &t, &g);
        least = fmin(least, t), most = fmax(most, t);
        soft = fmin(soft, g), loud = fmax(loud, g);
    }
    CU_ASSERT(least >= -0.25 && least < -0.24 && most <= 0.25 && most > 0.24);
    CU_ASSERT(soft >= 0.5011 && soft < 0.52 && loud <= 1.9954 && loud > 1.93);
}

/* ---- batches ---- */

static void load_all(const rt_model *model, int threads, size_t cache, const char *uri, int views,
                     float *out) {
    netrt_options o = {threads, 20, 0};
    netrt *m = NULL;
    rt_dataset *ds = NULL;
    rt_feed f;
    rt_error err = {0};
    int64_t want[20], size = rt_input_count(model, 0);
    CU_ASSERT_EQUAL_FATAL(netrt_open(model, &o, &m, &err), 0);
    CU_ASSERT_EQUAL_FATAL(rt_data_open(uri, "train", &ds, &err), 0);
    CU_ASSERT_EQUAL_FATAL(rt_feed_open(&f, m, ds, 20, cache, 1, &err), 0);
    CU_ASSERT_EQUAL_FATAL(rt_feed_learn(&f, NULL, NULL, &err), 0);
    for (int i = 0; i < 20; i++)
        want[i] = 19 - i;
    for (int k = 0; k < 3; k++) { /* the third time what the cache holds is used */
        f.view = views ? 4 * k : 0;
        CU_ASSERT_EQUAL(rt_feed_load(&f, want, 20, views ? -1 : k ? 3 : -1, NULL, NULL), 20);
        memcpy(out + k * 20 * size, f.input[0], 20 * (size_t)size * sizeof *out);
    }
    rt_feed_close(&f);
    rt_data_close(ds);
    netrt_close(m);
}

static void batches(void) {
    static const float amounts[][2] = {{RT_AUGMENT_CROP, 1 + 4},
                                       {RT_AUGMENT_SHORT_HI, 40},
                                       {RT_AUGMENT_AREA_HI, 1},
                                       {RT_AUGMENT_ELASTIC, 8},
                                       {-1, 0}};
    for (size_t c = 0; c < sizeof amounts / sizeof amounts[0]; c++) {
        rt_input_spec input = toy_input[0];
        rt_model model = toy_model;
        int views = amounts[c][0] < 0;
        input.flip = 1;
        input.resize_short = views ? 31 : 0;
        if (!views)
            input.augment[(int)amounts[c][0]] = amounts[c][1];
        input.augment[RT_AUGMENT_SHORT_LO] = input.augment[RT_AUGMENT_SHORT_HI] > 0 ? 28 : 0;
        input.augment[RT_AUGMENT_AREA_LO] = input.augment[RT_AUGMENT_AREA_HI] > 0 ? 0.2f : 0;
        input.augment[RT_AUGMENT_SIGMA] = input.augment[RT_AUGMENT_ELASTIC] > 0 ? 3 : 0;
        model.input = &input;
        size_t n = 60 * (size_t)rt_input_count(&model, 0), bytes = n * sizeof(float);
        float *v[4];
        for (int k = 0; k < 4; k++) {
            v[k] = malloc(bytes);
            load_all(&model, k & 1 ? 3 : 1, k & 2 ? 1 << 20 : 0, "digits:40", views, v[k]);
            CU_ASSERT(memcmp(v[0], v[k], bytes) == 0);
        }
        CU_ASSERT(memcmp(v[0], v[0] + n / 3, bytes / 3) != 0);
        CU_ASSERT(views || memcmp(v[0] + n / 3, v[0] + 2 * n / 3, bytes / 3) == 0);
        for (int k = 0; k < 4; k++)
            free(v[k]);
    }
}

/* Amounts that change nothing: identical bytes. */
static void nothing(void) {
    rt_input_spec input = toy_input[0];
    rt_model model = toy_model;
    size_t n = 60 * (size_t)rt_input_count(&model, 0), bytes = n * sizeof(float);
    float *plain = malloc(bytes), *same = malloc(bytes);
    model.input = &input;
    load_all(&model, 1, 0, "digits:40", 0, plain);
    input.augment[RT_AUGMENT_CROP] = 1; /* no border */
    input.augment[RT_AUGMENT_SIGMA] = 4;
    input.augment[RT_AUGMENT_SCALE_LO] = input.augment[RT_AUGMENT_SCALE_HI] = 1;
    load_all(&model, 2, 1 << 20, "digits:40", 0, same);
    CU_ASSERT(memcmp(plain, same, bytes) == 0);
    input.augment[RT_AUGMENT_CROP] = 0;
    input.augment[RT_AUGMENT_AREA_LO] = input.augment[RT_AUGMENT_AREA_HI] = 0;
    input.augment[RT_AUGMENT_SHORT_LO] = input.augment[RT_AUGMENT_SHORT_HI] = (float)input.h;
    load_all(&model, 2, 1 << 20, "digits:40", 0, same);
    if (input.h == 28 && input.w == 28)
        CU_ASSERT(memcmp(plain, same, bytes) == 0);
    free(plain);
    free(same);
}

SUITE_MAIN(TEST(crops), TEST(jitter_and_parts), TEST(views), TEST(elastic), TEST(maps_follow),
           TEST(pca), TEST(sound), TEST(batches), TEST(nothing))
