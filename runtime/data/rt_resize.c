/* rt_resize.c: antialiased bilinear resampling (see rt_image.h).
 *
 * Separable: rows first, then columns.  Each output pixel is a weighted mean of the input pixels
 * under a triangle of half width max(scale, 1); weights are normalised in double and rounded to
 * 22-bit fixed point, sums are rounded to 8 bits after each pass.
 * ensures: equal to Pillow's Image.resize(..., BILINEAR) bit for bit (tests/unit/test_rt_image.c
 * holds values computed with it).  theory: Turkowski, "Filters for common resampling tasks", 1990.
 */
#include "rt_image.h"

#include "rt_alloc.h"

#include <string.h>

enum { FIXED_BITS = 22 };

struct kernel {
    int taps;    /* room per output pixel */
    int *first;  /* first input pixel of output pixel i */
    int *count;  /* how many */
    int *weight; /* count[i] weights at weight + i * taps */
};

static void kernel_free(struct kernel *k) {
    rt_free(k->first);
    rt_free(k->count);
    rt_free(k->weight);
}

static double triangle(double x) {
    x = x < 0.0 ? -x : x;
    return x < 1.0 ? 1.0 - x : 0.0;
}

/* Weights that take in pixels to out pixels. */
static int kernel_make(struct kernel *k, int in, int out, rt_error *err) {
    double scale = (double)in / (double)out, wide = scale < 1.0 ? 1.0 : scale;
    *k = (struct kernel){.taps = 2 * ((int)wide + 1) + 1};
    size_t taps = (size_t)k->taps;
    k->first = rt_alloc((size_t)out, sizeof(int), "resize weights", err);
    k->count = rt_alloc((size_t)out, sizeof(int), "resize weights", err);
    k->weight = rt_alloc((size_t)out * taps, sizeof(int), "resize weights", err);
    double *exact = rt_alloc(taps, sizeof(double), "resize weights", err);
    if (!k->first || !k->count || !k->weight || !exact) {
        rt_free(exact); /* the caller frees k */
        return NETRT_ELIMIT;
    }
    double per_pixel = 1.0 / wide;
    for (int i = 0; i < out; i++) {
        double centre = ((double)i + 0.5) * scale;
        int lo = (int)(centre - wide + 0.5), hi = (int)(centre + wide + 0.5);
        lo = lo < 0 ? 0 : lo;
        hi = hi > in ? in : hi;
        double sum = 0.0;
        for (int t = 0; t < hi - lo; t++) {
            exact[t] = triangle(((double)(t + lo) - centre + 0.5) * per_pixel);
            sum += exact[t];
        }
        int *weight = k->weight + (size_t)i * taps;
        for (int t = 0; t < hi - lo; t++) {
            double w = sum != 0.0 ? exact[t] / sum : exact[t];
            weight[t] = (int)(0.5 + w * (double)(1 << FIXED_BITS)); /* never negative */
        }
        k->first[i] = lo;
        k->count[i] = hi - lo;
    }
    rt_free(exact);
    return NETRT_OK;
}

static unsigned char to_byte(int sum) {
    int v = sum >> FIXED_BITS;
    return (unsigned char)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* One row of three channels; taps outermost, so that the three sums run side by side. */
static void row_of_colours(const struct kernel *k, const unsigned char *row, unsigned char *dst,
                           int out_w) {
    for (int x = 0; x < out_w; x++, dst += 3) {
        const int *weight = k->weight + (size_t)x * (size_t)k->taps;
        const unsigned char *p = row + 3 * (size_t)k->first[x];
        int a = 1 << (FIXED_BITS - 1), b = a, c = a;
        for (int t = 0; t < k->count[x]; t++, p += 3) {
            a += p[0] * weight[t];
            b += p[1] * weight[t];
            c += p[2] * weight[t];
        }
        dst[0] = to_byte(a);
        dst[1] = to_byte(b);
        dst[2] = to_byte(c);
    }
}

/* src has rows rows of in_w pixels; dst gets out_w pixels per row. */
static void pass_rows(const struct kernel *k, const unsigned char *src, int in_w, int rows,
                      int channels, unsigned char *dst, int out_w) {
    size_t ch = (size_t)channels;
    for (int y = 0; y < rows; y++, dst += (size_t)out_w * ch) {
        const unsigned char *row = src + (size_t)y * (size_t)in_w * ch;
        if (channels == 3) {
            row_of_colours(k, row, dst, out_w);
            continue;
        }
        for (int x = 0; x < out_w; x++) {
            const int *weight = k->weight + (size_t)x * (size_t)k->taps;
            const unsigned char *p = row + (size_t)k->first[x];
            int sum = 1 << (FIXED_BITS - 1);
            for (int t = 0; t < k->count[x]; t++)
                sum += p[t] * weight[t];
            dst[x] = to_byte(sum);
        }
    }
}

/* Columns: whole rows are weighted, so the inner loop is contiguous.  acc has stride ints. */
static inline __attribute__((always_inline)) void columns(const struct kernel *k,
                                                          const unsigned char *src, size_t stride,
                                                          int out_h, unsigned char *dst, int *acc) {
    for (int y = 0; y < out_h; y++) {
        const int *weight = k->weight + (size_t)y * (size_t)k->taps;
        for (size_t x = 0; x < stride; x++)
            acc[x] = 1 << (FIXED_BITS - 1);
        for (int t = 0; t < k->count[y]; t++) {
            const unsigned char *row = src + (size_t)(k->first[y] + t) * stride;
            for (size_t x = 0; x < stride; x++)
                acc[x] += row[x] * weight[t];
        }
        for (size_t x = 0; x < stride; x++)
            dst[(size_t)y * stride + x] = to_byte(acc[x]);
    }
}

/* The sums are of integers: wider vectors give the same bytes. */
#ifdef __x86_64__
__attribute__((target("avx2"))) static void columns_avx2(const struct kernel *k,
                                                         const unsigned char *src, size_t stride,
                                                         int out_h, unsigned char *dst, int *acc) {
    columns(k, src, stride, out_h, dst, acc);
}
#endif

static void pass_columns(const struct kernel *k, const unsigned char *src, size_t stride, int out_h,
                         unsigned char *dst, int *acc) {
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2")) {
        columns_avx2(k, src, stride, out_h, dst, acc);
        return;
    }
#endif
    columns(k, src, stride, out_h, dst, acc);
}

int rt_image_resize(rt_image *dst, const rt_image *src, int width, int height, rt_error *err) {
    int code = rt_image_reserve(dst, width, height, src->channels, err);
    if (code != NETRT_OK)
        return code;
    struct kernel kx = {0}, ky = {0};
    rt_image mid = {0};
    int *acc = NULL;
    const rt_image *cur = src;
    size_t stride = (size_t)width * (size_t)src->channels;
    if (width != src->width) {
        rt_image *to = height != src->height ? &mid : dst;
        code = kernel_make(&kx, src->width, width, err);
        if (code == NETRT_OK && to == &mid)
            code = rt_image_reserve(&mid, width, src->height, src->channels, err);
        if (code == NETRT_OK)
            pass_rows(&kx, src->data, src->width, src->height, src->channels, to->data, width);
        cur = to;
    }
    if (code == NETRT_OK && height != src->height) {
        code = kernel_make(&ky, src->height, height, err);
        if (code == NETRT_OK && !(acc = rt_alloc(stride, sizeof(int), "resize row", err)))
            code = NETRT_ELIMIT;
        if (code == NETRT_OK)
            pass_columns(&ky, cur->data, stride, height, dst->data, acc);
    } else if (code == NETRT_OK && cur == src) {
        memcpy(dst->data, src->data, stride * (size_t)height);
    }
    kernel_free(&kx);
    kernel_free(&ky);
    rt_image_free(&mid);
    rt_free(acc);
    return code;
}
