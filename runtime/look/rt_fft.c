/* rt_fft.c: Fourier and Hartley transforms (rt_fft.h). */
#include "rt_fft.h"

#include <math.h>

#include "rt_alloc.h"

static int64_t least_factor(int64_t n) {
    for (int64_t p = 2; p * p <= n; p++)
        if (n % p == 0)
            return p;
    return n;
}

int64_t rt_fft_size(int64_t n) {
    for (n = n < 1 ? 1 : n;; n++) {
        int64_t rest = n;
        while (rest > 1 && least_factor(rest) <= 5)
            rest /= least_factor(rest);
        if (rest == 1)
            return n;
    }
}

int rt_fft_open(rt_fft *f, int64_t n, rt_error *err) {
    *f = (rt_fft){.n = n};
    for (int64_t rest = n; rest > 1; rest /= least_factor(rest))
        if (least_factor(rest) > RT_FFT_PRIME)
            return rt_fail(err, NETRT_ELIMIT, "no Fourier transform of %lld numbers", (long long)n);
    f->turn = rt_alloc((size_t)n, sizeof *f->turn, "a Fourier transform", err);
    for (int64_t k = 0; f->turn && k < n; k++) {
        double angle = -2 * acos(-1.0) * (double)k / (double)n;
        f->turn[k] = (rt_complex){(float)cos(angle), (float)sin(angle)};
    }
    return err->code;
}

void rt_fft_close(rt_fft *f) {
    rt_free(f->turn);
    f->turn = NULL;
}

static rt_complex times(rt_complex a, rt_complex b) {
    return (rt_complex){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

/* Transforms of the p parts in[r], in[r + p], .., then each p results from p of them. */
static void transform(const rt_fft *f, const rt_complex *in, int64_t step, rt_complex *out,
                      int64_t n) {
    if (n == 1) {
        out[0] = in[0];
        return;
    }
    int64_t p = least_factor(n), m = n / p, wide = f->n / n;
    for (int64_t r = 0; r < p; r++)
        transform(f, in + r * step, step * p, out + r * m, m);
    for (int64_t k = 0; k < m; k++) {
        rt_complex part[RT_FFT_PRIME];
        for (int64_t r = 0; r < p; r++)
            part[r] = times(out[r * m + k], f->turn[r * k * wide]);
        for (int64_t q = 0; q < p; q++) {
            rt_complex sum = part[0];
            for (int64_t r = 1; r < p; r++) {
                rt_complex t = times(part[r], f->turn[r * q % p * (f->n / p)]);
                sum.re += t.re;
                sum.im += t.im;
            }
            out[q * m + k] = sum;
        }
    }
}

void rt_fft_run(const rt_fft *f, const rt_complex *in, int64_t step, rt_complex *out) {
    transform(f, in, step, out, f->n);
}

void rt_hartley(const rt_fft *rows, const rt_fft *columns, float *x, rt_complex *room) {
    int64_t w = rows->n, h = columns->n;
    rt_complex *half = room + h * w, *line = half + h * w;
    for (int64_t i = 0; i < h * w; i++)
        room[i] = (rt_complex){x[i], 0};
    for (int64_t y = 0; y < h; y++)
        rt_fft_run(rows, room + y * w, 1, half + y * w);
    double norm = 1 / sqrt((double)(h * w));
    for (int64_t k = 0; k < w; k++) {
        rt_fft_run(columns, half + k, w, line);
        for (int64_t y = 0; y < h; y++)
            x[y * w + k] = (float)(norm * ((double)line[y].re - (double)line[y].im));
    }
}
