/* rt_rbm.c: a convolutional restricted Boltzmann machine (rt_rbm.h): energies, probabilities, CD-1.
 *
 * All of it is of one image, by one thread and in one order; rt_pretrain.c does many at a time.
 */
#include "rt_rbm.h"

#include <math.h>
#include <string.h>

#include "rt_alloc.h"

int64_t rt_rbm_weights(const rt_rbm *r) { return r->maps * r->channels * r->kh * r->kw; }
int64_t rt_rbm_seen(const rt_rbm *r) { return r->channels * r->h * r->w; }
int64_t rt_rbm_hidden(const rt_rbm *r) { return r->maps * r->oh * r->ow; }

int rt_rbm_open(rt_rbm *r, rt_error *err) {
    r->weight = r->bias = r->visible = NULL;
    r->oh = r->kh <= r->h ? (r->h - r->kh + 1) / r->pool * r->pool : 0;
    r->ow = r->kw <= r->w ? (r->w - r->kw + 1) / r->pool * r->pool : 0;
    if (r->oh < 1 || r->ow < 1)
        return rt_fail(err, NETRT_EUSAGE,
                       "a kernel of %lldx%lld leaves no block of %lldx%lld cells on %lldx%lld\n"
                       "help: --pool=1 needs one cell",
                       (long long)r->kh, (long long)r->kw, (long long)r->pool, (long long)r->pool,
                       (long long)r->h, (long long)r->w);
    r->weight = rt_alloc_zero((size_t)rt_rbm_weights(r), sizeof *r->weight, "weights", err);
    r->bias = rt_alloc_zero((size_t)r->maps, sizeof *r->bias, "biases", err);
    r->visible = rt_alloc_zero((size_t)r->channels, sizeof *r->visible, "biases", err);
    return err->code;
}

void rt_rbm_close(rt_rbm *r) {
    rt_free(r->weight);
    rt_free(r->bias);
    rt_free(r->visible);
}

/* Weight n joins hidden row y, which begins at hidden + y * ow, to the numbers from seen + y * w on. */
typedef struct Tap {
    int64_t seen, hidden;
} Tap;

static Tap tap(const rt_rbm *r, int64_t n) {
    int64_t j = n % r->kw, i = n / r->kw % r->kh, c = n / (r->kw * r->kh) % r->channels;
    int64_t k = n / (r->kw * r->kh * r->channels);
    return (Tap){(c * r->h + i) * r->w + j, k * r->oh * r->ow};
}

static void add_row(float *to, float by, const float *from, int64_t n) {
    for (int64_t x = 0; x < n; x++)
        to[x] += by * from[x];
}

/* Every plane of x at its bias. */
static void start(float *x, const float *bias, int64_t planes, int64_t cells) {
    for (int64_t k = 0; k < planes; k++)
        for (int64_t i = 0; i < cells; i++)
            x[k * cells + i] = bias[k];
}

/* I of the hidden cells. */
static void drive(const rt_rbm *r, const float *v, float *in) {
    start(in, r->bias, r->maps, r->oh * r->ow);
    for (int64_t n = 0; n < rt_rbm_weights(r); n++) {
        Tap t = tap(r, n);
        for (int64_t y = 0; y < r->oh; y++)
            add_row(in + t.hidden + y * r->ow, r->weight[n], v + t.seen + y * r->w, r->ow);
    }
}

/* Blocks lie behind each other; cell q of block b of map k. */
static int64_t cell(const rt_rbm *r, int64_t block, int64_t q) {
    int64_t across = r->ow / r->pool, down = r->oh / r->pool;
    int64_t k = block / (down * across), y = block / across % down, x = block % across;
    return (k * r->oh + y * r->pool + q / r->pool) * r->ow + x * r->pool + q % r->pool;
}

static int64_t blocks(const rt_rbm *r) {
    return r->maps * (r->oh / r->pool) * (r->ow / r->pool);
}

/* log(1 + sum of exp(I)) of a block; its numbers become probabilities. */
static double normalise(const rt_rbm *r, int64_t block, float *p) {
    int64_t n = r->pool * r->pool;
    double most = 0, sum;
    for (int64_t q = 0; q < n; q++)
        most = fmax(most, (double)p[cell(r, block, q)]);
    sum = exp(-most);
    for (int64_t q = 0; q < n; q++)
        sum += exp((double)p[cell(r, block, q)] - most);
    for (int64_t q = 0; q < n; q++) {
        float *at = &p[cell(r, block, q)];
        *at = (float)(exp((double)*at - most) / sum);
    }
    return most + log(sum);
}

void rt_rbm_expect(const rt_rbm *r, const float *v, float *p) {
    drive(r, v, p);
    for (int64_t b = 0; b < blocks(r); b++)
        normalise(r, b, p);
}

void rt_rbm_draw(const rt_rbm *r, const float *p, rt_rng rng, uint32_t a, uint32_t b, float *h) {
    memset(h, 0, (size_t)rt_rbm_hidden(r) * sizeof *h);
    for (int64_t k = 0; k < blocks(r); k++) {
        float u;
        rt_rng_fill_uniform(rng, a, b, (uint64_t)k, 0, 1, &u, 1);
        for (int64_t q = 0; q < r->pool * r->pool; q++) {
            u -= p[cell(r, k, q)];
            if (u < 0) {
                h[cell(r, k, q)] = 1;
                break;
            }
        }
    }
}

void rt_rbm_dream(const rt_rbm *r, const float *h, float *v) {
    start(v, r->visible, r->channels, r->h * r->w);
    for (int64_t n = 0; n < rt_rbm_weights(r); n++) {
        Tap t = tap(r, n);
        for (int64_t y = 0; y < r->oh; y++)
            add_row(v + t.seen + y * r->w, r->weight[n], h + t.hidden + y * r->ow, r->ow);
    }
    for (int64_t i = 0; i < rt_rbm_seen(r) && !r->gaussian; i++)
        v[i] = 1 / (1 + expf(-v[i]));
}

double rt_rbm_free_energy(const rt_rbm *r, const float *v, float *p) {
    double energy = 0;
    int64_t cells = r->h * r->w;
    for (int64_t i = 0; i < rt_rbm_seen(r); i++) {
        double c = (double)r->visible[i / cells], x = (double)v[i];
        energy += r->gaussian ? (x - c) * (x - c) / 2 : -c * x;
    }
    drive(r, v, p);
    for (int64_t b = 0; b < blocks(r); b++)
        energy -= normalise(r, b, p);
    return energy;
}

void rt_rbm_gather(const rt_rbm *r, const float *v, const float *p, float sign, float *weight,
                   float *bias, float *visible) {
    int64_t cells = r->oh * r->ow, seen = r->h * r->w;
    for (int64_t n = 0; n < rt_rbm_weights(r); n++) {
        Tap t = tap(r, n);
        float sum = 0;
        for (int64_t y = 0; y < r->oh; y++)
            for (int64_t x = 0; x < r->ow; x++)
                sum += v[t.seen + y * r->w + x] * p[t.hidden + y * r->ow + x];
        weight[n] += sign * sum;
    }
    for (int64_t k = 0; k < r->maps; k++)
        for (int64_t i = 0; i < cells; i++)
            bias[k] += sign * p[k * cells + i];
    for (int64_t c = 0; c < r->channels; c++)
        for (int64_t i = 0; i < seen; i++)
            visible[c] += sign * (v[c * seen + i] - (r->gaussian ? r->visible[c] : 0));
}

double rt_rbm_contrast(const rt_rbm *r, const float *v, rt_rng rng, uint32_t a, uint32_t b,
                       float *room, float *weight, float *bias, float *visible, float *on) {
    int64_t hidden = rt_rbm_hidden(r), cells = r->oh * r->ow;
    float *p = room, *h = room + hidden, *again = room + 2 * hidden;
    double missed = 0;
    memset(weight, 0, (size_t)rt_rbm_weights(r) * sizeof *weight);
    memset(bias, 0, (size_t)r->maps * sizeof *bias);
    memset(visible, 0, (size_t)r->channels * sizeof *visible);
    rt_rbm_expect(r, v, p);
    for (int64_t k = 0; k < r->maps; k++) {
        on[k] = 0;
        for (int64_t i = 0; i < cells; i++)
            on[k] += p[k * cells + i] / (float)cells;
    }
    rt_rbm_gather(r, v, p, 1, weight, bias, visible);
    rt_rbm_draw(r, p, rng, a, b, h);
    rt_rbm_dream(r, h, again);
    rt_rbm_expect(r, again, p);
    rt_rbm_gather(r, again, p, -1, weight, bias, visible);
    for (int64_t i = 0; i < rt_rbm_seen(r); i++)
        missed += (double)(v[i] - again[i]) * (double)(v[i] - again[i]);
    return missed;
}
