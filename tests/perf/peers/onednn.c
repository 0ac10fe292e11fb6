/* onednn.c: oneDNN's time for one network: onednn LAYERS BATCH forward|train|project
 * SECONDS.
 *
 * LAYERS is the list that layers.awk makes.  Primitives are chained the way oneDNN is fastest:
 * layouts of its own choice ("any"), reorders only where two primitives disagree, bias and
 * activation fused into convolution and inner product, diff buffers reused.  A training step is
 * forward, softmax with cross-entropy, gradients, plain SGD; a projection runs from the last
 * convolution down to the image with rectified signals and constant weights (deconvnet), batch as
 * given.  Prints one line: the version, peak memory in MB, milliseconds of every iteration.
 * requires: oneDNN 3 (C interface); threads from OMP_NUM_THREADS.
 */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "dnnl.h"

enum { MAX_LAYERS = 64, MAX_STEPS = 512, MAX_ARGS = 8 };

#define CHECK(call)                                                                                \
    do {                                                                                           \
        dnnl_status_t status_ = (call);                                                            \
        if (status_ != dnnl_success) {                                                             \
            fprintf(stderr, "onednn: line %d: status %d\n", __LINE__, (int)status_);          \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

typedef struct Layer {
    char op[16];
    double p[12];
    /* filled while building */
    dnnl_memory_t src, dst, weights, workspace;
    dnnl_primitive_desc_t forward;
    dnnl_primitive_desc_t activation; /* fused behind: its own forward description, for backward */
    int fused;                        /* 1 relu, 2 tanh */
} Layer;

typedef struct Step { /* a primitive with its arguments, or a function of ours */
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t arg[MAX_ARGS];
    int nargs;
    void (*own)(struct Step *);
    float *a, *b;
    long n, classes;
} Step;

static dnnl_engine_t engine;
static dnnl_stream_t stream;
static Layer layer[MAX_LAYERS];
static int nlayers, batch;
static Step step[MAX_STEPS];
static int nsteps;
static int training, projecting;

/* ---- memory ---- */

/* Buffers of values that die at once: two, used in turn.  They are given their place at the end. */
static struct Ring {
    dnnl_memory_t memory[MAX_STEPS];
    int n;
    size_t most;
} activations, diffs;

static size_t bytes_of(dnnl_memory_t m) {
    const_dnnl_memory_desc_t d;
    CHECK(dnnl_memory_get_memory_desc(m, &d));
    return dnnl_memory_desc_get_size(d);
}

static const_dnnl_memory_desc_t desc_of(dnnl_memory_t m) {
    const_dnnl_memory_desc_t d;
    CHECK(dnnl_memory_get_memory_desc(m, &d));
    return d;
}

static float *data_of(dnnl_memory_t m) {
    void *p;
    CHECK(dnnl_memory_get_data_handle(m, &p));
    return p;
}

static dnnl_memory_t memory_own(const_dnnl_memory_desc_t d, float scale) {
    dnnl_memory_t m;
    void *p = NULL;
    size_t bytes = dnnl_memory_desc_get_size(d);
    if (posix_memalign(&p, 4096, bytes + 4096))
        exit(1);
    unsigned r = 12345;
    for (size_t i = 0; i < bytes / 4; i++) {
        r = r * 1664525u + 1013904223u;
        ((float *)p)[i] = scale * (float)(int)r / 2147483648.0f;
    }
    CHECK(dnnl_memory_create(&m, d, engine, p));
    return m;
}

static dnnl_memory_t memory_ring(struct Ring *ring, const_dnnl_memory_desc_t d) {
    dnnl_memory_t m;
    CHECK(dnnl_memory_create(&m, d, engine, DNNL_MEMORY_NONE));
    size_t bytes = dnnl_memory_desc_get_size(d);
    ring->most = bytes > ring->most ? bytes : ring->most;
    ring->memory[ring->n++] = m;
    return m;
}

static void ring_place(struct Ring *ring) {
    void *p[2] = {NULL, NULL};
    for (int i = 0; i < 2 && ring->n; i++) {
        if (posix_memalign(&p[i], 4096, ring->most + 4096))
            exit(1);
        memset(p[i], 0, ring->most);
    }
    for (int i = 0; i < ring->n; i++)
        CHECK(dnnl_memory_set_data_handle(ring->memory[i], p[i & 1]));
}

static dnnl_memory_t activation_memory(const_dnnl_memory_desc_t d) {
    return training || projecting ? memory_own(d, 0) : memory_ring(&activations, d);
}

static dnnl_memory_desc_t desc(int n, const dnnl_dims_t dims, dnnl_format_tag_t tag) {
    dnnl_memory_desc_t d;
    CHECK(dnnl_memory_desc_create_with_tag(&d, n, dims, dnnl_f32, tag));
    return d;
}

/* ---- steps ---- */

static Step *add(dnnl_primitive_desc_t pd) {
    Step *s = &step[nsteps++];
    if (nsteps > MAX_STEPS)
        exit(1);
    memset(s, 0, sizeof *s);
    if (pd)
        CHECK(dnnl_primitive_create(&s->primitive, pd));
    return s;
}

static void arg(Step *s, int which, dnnl_memory_t m) {
    s->arg[s->nargs++] = (dnnl_exec_arg_t){which, m};
}

static dnnl_memory_t reordered(dnnl_memory_t m, const_dnnl_memory_desc_t want,
                               dnnl_memory_t (*place)(const_dnnl_memory_desc_t)) {
    dnnl_primitive_desc_t pd;
    if (dnnl_memory_desc_equal(desc_of(m), want))
        return m;
    dnnl_memory_t out = place(want);
    CHECK(dnnl_reorder_primitive_desc_create(&pd, desc_of(m), engine, want, engine, NULL));
    Step *s = add(pd);
    arg(s, DNNL_ARG_FROM, m);
    arg(s, DNNL_ARG_TO, out);
    return out;
}

static dnnl_memory_t diff_memory(const_dnnl_memory_desc_t d) {
    return memory_ring(&diffs, d);
}

static dnnl_memory_t own_memory(const_dnnl_memory_desc_t d) {
    return memory_own(d, 0);
}

static const_dnnl_memory_desc_t query(dnnl_primitive_desc_t pd, dnnl_query_t what) {
    return dnnl_primitive_desc_query_md(pd, what, 0);
}

static void run_sgd(Step *s) {
#pragma omp parallel for simd schedule(static)
    for (long i = 0; i < s->n; i++)
        s->a[i] -= 1e-6f * s->b[i];
}

static void add_sgd(dnnl_memory_t weights, dnnl_memory_t diff) {
    Step *s = add(NULL);
    s->own = run_sgd;
    s->a = data_of(weights);
    s->b = data_of(diff);
    s->n = (long)(bytes_of(weights) / 4);
}

static void run_softmax(Step *s) {
    for (long n = 0; n < s->n; n++) {
        const float *x = s->a + n * s->classes;
        float *d = s->b + n * s->classes, most = x[0], sum = 0;
        for (long c = 1; c < s->classes; c++)
            most = fmaxf(most, x[c]);
        for (long c = 0; c < s->classes; c++)
            sum += d[c] = expf(x[c] - most);
        for (long c = 0; c < s->classes; c++)
            d[c] = (d[c] / sum - (float)(c == n % s->classes)) / (float)s->n;
    }
}

/* ---- one layer, forward ---- */

static int dims_of(dnnl_memory_t m, dnnl_dims_t out) {
    const dnnl_dims_t *dims;
    int n;
    CHECK(dnnl_memory_desc_query(desc_of(m), dnnl_query_ndims_s32, &n));
    CHECK(dnnl_memory_desc_query(desc_of(m), dnnl_query_dims, &dims));
    memcpy(out, *dims, (size_t)n * sizeof **dims);
    return n;
}

static dnnl_prop_kind_t forward_kind(void) {
    return training || projecting ? dnnl_forward_training : dnnl_forward_inference;
}

/* bias + activation behind a convolution or inner product */
static dnnl_primitive_attr_t fused(int kind) {
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops;
    if (!kind)
        return NULL;
    CHECK(dnnl_primitive_attr_create(&attr));
    CHECK(dnnl_post_ops_create(&ops));
    CHECK(dnnl_post_ops_append_eltwise(ops, kind == 1 ? dnnl_eltwise_relu : dnnl_eltwise_tanh, 0,
                                       0));
    CHECK(dnnl_primitive_attr_set_post_ops(attr, ops));
    return attr;
}

/* Shapes of a convolution layer: weights (with groups: 5-d), destination; strides and paddings. */
typedef struct ConvShape {
    dnnl_dims_t src, dst, weights, stride, dilation, before, after;
    int nweights;
} ConvShape;

static ConvShape conv_shape(const Layer *l) {
    ConvShape c = {.nweights = 4};
    dims_of(l->src, c.src);
    const double *p = l->p;
    dnnl_dim_t groups = (dnnl_dim_t)p[9], oc = (dnnl_dim_t)p[0];
    for (int d = 0; d < 2; d++) {
        c.stride[d] = (dnnl_dim_t)p[3 + d];
        c.before[d] = (dnnl_dim_t)p[5 + 2 * d];
        c.after[d] = (dnnl_dim_t)p[6 + 2 * d];
        c.dst[2 + d] = (c.src[2 + d] + c.before[d] + c.after[d] - (dnnl_dim_t)p[1 + d]) /
                           c.stride[d] +
                       1;
    }
    c.dst[0] = c.src[0];
    c.dst[1] = oc;
    dnnl_dim_t *w = c.weights;
    if (groups > 1) {
        c.nweights = 5;
        *w++ = groups;
    }
    w[0] = oc / groups;
    w[1] = c.src[1] / groups;
    w[2] = (dnnl_dim_t)p[1];
    w[3] = (dnnl_dim_t)p[2];
    return c;
}

static void conv_forward(Layer *l, dnnl_memory_t in) {
    l->src = in;
    ConvShape c = conv_shape(l);
    dnnl_dims_t oc = {c.dst[1]};
    CHECK(dnnl_convolution_forward_primitive_desc_create(
        &l->forward, engine, forward_kind(), dnnl_convolution_auto,
        desc(4, c.src, dnnl_format_tag_any), desc(c.nweights, c.weights, dnnl_format_tag_any),
        desc(1, oc, dnnl_x), desc(4, c.dst, dnnl_format_tag_any), c.stride, c.dilation, c.before,
        c.after, fused(l->fused)));
    l->src = reordered(in, query(l->forward, dnnl_query_src_md), activation_memory);
}

static void dense_forward(Layer *l, dnnl_memory_t in) {
    dnnl_dims_t src, weights, dst = {batch, (dnnl_dim_t)l->p[0]}, units = {dst[1]};
    int n = dims_of(in, src);
    memcpy(weights, src, sizeof weights);
    weights[0] = dst[1];
    CHECK(dnnl_inner_product_forward_primitive_desc_create(
        &l->forward, engine, forward_kind(), desc(n, src, dnnl_format_tag_any),
        desc(n, weights, dnnl_format_tag_any), desc(1, units, dnnl_x),
        desc(2, dst, dnnl_format_tag_any), fused(l->fused)));
    l->src = reordered(in, query(l->forward, dnnl_query_src_md), activation_memory);
}

static dnnl_memory_t bias_of(const Layer *l) {
    dnnl_dims_t n = {(dnnl_dim_t)l->p[0]};
    return memory_own(desc(1, n, dnnl_x), 0.01f);
}

static void weighted_forward(Layer *l, dnnl_memory_t in) {
    if (strcmp(l->op, "conv") == 0)
        conv_forward(l, in);
    else
        dense_forward(l, in);
    l->weights = memory_own(query(l->forward, dnnl_query_weights_md), 0.01f);
    l->dst = activation_memory(query(l->forward, dnnl_query_dst_md));
    Step *s = add(l->forward);
    arg(s, DNNL_ARG_SRC, l->src);
    arg(s, DNNL_ARG_WEIGHTS, l->weights);
    arg(s, DNNL_ARG_BIAS, bias_of(l));
    arg(s, DNNL_ARG_DST, l->dst);
}

typedef struct PoolShape {
    dnnl_dims_t dst, kernel, stride, dilation, before, after;
} PoolShape;

static PoolShape pool_shape(const Layer *l) {
    PoolShape s = {.dilation = {0, 0}};
    dnnl_dims_t src;
    dims_of(l->src, src);
    s.dst[0] = src[0];
    s.dst[1] = src[1];
    for (int d = 0; d < 2; d++) {
        s.kernel[d] = (dnnl_dim_t)l->p[d];
        s.stride[d] = (dnnl_dim_t)l->p[2 + d];
        s.before[d] = (dnnl_dim_t)l->p[4 + d];
        s.dst[2 + d] = (dnnl_dim_t)l->p[6 + d];
        s.after[d] = (s.dst[2 + d] - 1) * s.stride[d] + s.kernel[d] - src[2 + d] - s.before[d];
        s.after[d] = s.after[d] > 0 ? s.after[d] : 0;
    }
    return s;
}

static dnnl_alg_kind_t pool_kind(const Layer *l) {
    return l->op[0] == 'm' ? dnnl_pooling_max : dnnl_pooling_avg_exclude_padding;
}

static void simple_forward(Layer *l, dnnl_memory_t in) {
    l->src = in;
    if (strcmp(l->op, "lrn") == 0) {
        CHECK(dnnl_lrn_forward_primitive_desc_create(
            &l->forward, engine, forward_kind(), dnnl_lrn_across_channels, desc_of(in),
            desc_of(in), (dnnl_dim_t)l->p[0], (float)(l->p[1] * l->p[0]), (float)l->p[2],
            (float)l->p[3], NULL));
    } else {
        PoolShape p = pool_shape(l);
        CHECK(dnnl_pooling_forward_primitive_desc_create(
            &l->forward, engine, forward_kind(), pool_kind(l), desc_of(in),
            desc(4, p.dst, dnnl_format_tag_any), p.stride, p.kernel, p.dilation, p.before, p.after,
            NULL));
    }
    l->dst = activation_memory(query(l->forward, dnnl_query_dst_md));
    Step *s = add(l->forward);
    arg(s, DNNL_ARG_SRC, l->src);
    arg(s, DNNL_ARG_DST, l->dst);
    const_dnnl_memory_desc_t w = query(l->forward, dnnl_query_workspace_md);
    if (w && dnnl_memory_desc_get_size(w) > 0) {
        l->workspace = memory_own(w, 0);
        arg(s, DNNL_ARG_WORKSPACE, l->workspace);
    }
}

/* ---- one layer, backward ---- */

/* The fused activation, in place on the gradient: with its own output, or (deconvnet) a
 * rectifier. */
static dnnl_memory_t activation_backward(const Layer *l, dnnl_memory_t dy) {
    dnnl_primitive_desc_t f, b;
    if (!l->fused)
        return dy;
    if (projecting) {
        CHECK(dnnl_eltwise_forward_primitive_desc_create(&f, engine, dnnl_forward_inference,
                                                         dnnl_eltwise_relu, desc_of(dy),
                                                         desc_of(dy), 0, 0, NULL));
        Step *s = add(f);
        arg(s, DNNL_ARG_SRC, dy);
        arg(s, DNNL_ARG_DST, dy);
        return dy;
    }
    dnnl_alg_kind_t alg =
        l->fused == 1 ? dnnl_eltwise_relu_use_dst_for_bwd : dnnl_eltwise_tanh_use_dst_for_bwd;
    dy = reordered(dy, desc_of(l->dst), diff_memory);
    CHECK(dnnl_eltwise_forward_primitive_desc_create(&f, engine, dnnl_forward_training, alg,
                                                     desc_of(l->dst), desc_of(l->dst), 0, 0, NULL));
    CHECK(dnnl_eltwise_backward_primitive_desc_create(&b, engine, alg, desc_of(dy), desc_of(dy),
                                                      desc_of(l->dst), 0, 0, f, NULL));
    Step *s = add(b);
    arg(s, DNNL_ARG_DST, l->dst);
    arg(s, DNNL_ARG_DIFF_DST, dy);
    arg(s, DNNL_ARG_DIFF_SRC, dy);
    return dy;
}

static void weights_descs(const Layer *l, dnnl_primitive_desc_t *weights,
                          dnnl_primitive_desc_t *data) {
    dnnl_dims_t n = {(dnnl_dim_t)l->p[0]}, src, w, dst = {batch, n[0]};
    int rank = dims_of(l->src, src);
    dnnl_memory_desc_t bias = desc(1, n, dnnl_x);
    if (strcmp(l->op, "conv") == 0) {
        ConvShape c = conv_shape(l);
        dnnl_memory_desc_t s = desc(4, c.src, dnnl_format_tag_any);
        dnnl_memory_desc_t d = desc(4, c.dst, dnnl_format_tag_any);
        dnnl_memory_desc_t k = desc(c.nweights, c.weights, dnnl_format_tag_any);
        CHECK(dnnl_convolution_backward_weights_primitive_desc_create(
            weights, engine, dnnl_convolution_auto, s, k, bias, d, c.stride, c.dilation, c.before,
            c.after, l->forward, NULL));
        CHECK(dnnl_convolution_backward_data_primitive_desc_create(
            data, engine, dnnl_convolution_auto, s, k, d, c.stride, c.dilation, c.before, c.after,
            l->forward, NULL));
        return;
    }
    memcpy(w, src, sizeof w);
    w[0] = n[0];
    dnnl_memory_desc_t s = desc(rank, src, dnnl_format_tag_any);
    dnnl_memory_desc_t k = desc(rank, w, dnnl_format_tag_any);
    dnnl_memory_desc_t d = desc(2, dst, dnnl_format_tag_any);
    CHECK(dnnl_inner_product_backward_weights_primitive_desc_create(weights, engine, s, k, bias, d,
                                                                    l->forward, NULL));
    CHECK(dnnl_inner_product_backward_data_primitive_desc_create(data, engine, s, k, d, l->forward,
                                                                 NULL));
}

/* Gradient at the layer's source; 0 for the first layer of a training step, which nobody needs. */
static dnnl_memory_t weighted_backward(const Layer *l, dnnl_memory_t dy, int first) {
    dnnl_primitive_desc_t bw, bd;
    dy = activation_backward(l, dy);
    weights_descs(l, &bw, &bd);
    dnnl_memory_t diff_weights = NULL, diff_bias = NULL, dx = NULL;
    if (training) {
        dnnl_dims_t n = {(dnnl_dim_t)l->p[0]};
        diff_weights = memory_own(query(bw, dnnl_query_diff_weights_md), 0);
        diff_bias = memory_own(desc(1, n, dnnl_x), 0);
        dnnl_memory_t src = reordered(l->src, query(bw, dnnl_query_src_md), own_memory);
        dnnl_memory_t d = reordered(dy, query(bw, dnnl_query_diff_dst_md), own_memory);
        Step *s = add(bw);
        arg(s, DNNL_ARG_SRC, src);
        arg(s, DNNL_ARG_DIFF_DST, d);
        arg(s, DNNL_ARG_DIFF_WEIGHTS, diff_weights);
        arg(s, DNNL_ARG_DIFF_BIAS, diff_bias);
    }
    if (projecting || !first) {
        dnnl_memory_t w =
            projecting ? memory_own(query(bd, dnnl_query_weights_md), 0.01f) /* laid out once */
                       : reordered(l->weights, query(bd, dnnl_query_weights_md), own_memory);
        dnnl_memory_t d = reordered(dy, query(bd, dnnl_query_diff_dst_md), diff_memory);
        dx = diff_memory(query(bd, dnnl_query_diff_src_md));
        Step *s = add(bd);
        arg(s, DNNL_ARG_DIFF_DST, d);
        arg(s, DNNL_ARG_WEIGHTS, w);
        arg(s, DNNL_ARG_DIFF_SRC, dx);
    }
    if (training) {
        add_sgd(l->weights, reordered(diff_weights, desc_of(l->weights), own_memory));
        add_sgd(bias_of(l), diff_bias);
    }
    return dx;
}

static dnnl_memory_t simple_backward(const Layer *l, dnnl_memory_t dy) {
    dnnl_primitive_desc_t b;
    if (l->op[0] == 'l' && projecting)
        return dy; /* a deconvnet passes normalisations by */
    dy = reordered(dy, desc_of(l->dst), diff_memory);
    if (l->op[0] == 'l') {
        CHECK(dnnl_lrn_backward_primitive_desc_create(
            &b, engine, dnnl_lrn_across_channels, desc_of(l->src), desc_of(l->src), desc_of(l->src),
            (dnnl_dim_t)l->p[0], (float)(l->p[1] * l->p[0]), (float)l->p[2], (float)l->p[3],
            l->forward, NULL));
    } else {
        PoolShape p = pool_shape(l);
        CHECK(dnnl_pooling_backward_primitive_desc_create(
            &b, engine, pool_kind(l), desc_of(l->src), desc_of(l->dst), p.stride, p.kernel,
            p.dilation, p.before, p.after, l->forward, NULL));
    }
    dnnl_memory_t dx = diff_memory(desc_of(l->src));
    Step *s = add(b);
    if (l->op[0] == 'l')
        arg(s, DNNL_ARG_SRC, l->src);
    arg(s, DNNL_ARG_DIFF_DST, dy);
    arg(s, DNNL_ARG_DIFF_SRC, dx);
    if (l->workspace)
        arg(s, DNNL_ARG_WORKSPACE, l->workspace);
    return dx;
}

/* ---- the network ---- */

static int is_weighted(const Layer *l) {
    return strcmp(l->op, "conv") == 0 || strcmp(l->op, "dense") == 0;
}

/* Reads the list; an activation right behind a weighted layer is fused into it. */
static void read_layers(const char *path, dnnl_dims_t image) {
    FILE *f = fopen(path, "r");
    char line[256];
    if (!f) {
        perror(path);
        exit(1);
    }
    while (fgets(line, sizeof line, f)) {
        Layer l = {.fused = 0};
        char *at = line;
        int used = 0, n = 0;
        if (sscanf(at, "%15s%n", l.op, &used) != 1)
            continue;
        for (at += used; n < 12 && sscanf(at, "%lf%n", &l.p[n], &used) == 1; at += used)
            n++;
        if (strcmp(l.op, "input") == 0) {
            for (int i = 0; i < 3; i++)
                image[1 + i] = (dnnl_dim_t)l.p[i];
        } else if (strcmp(l.op, "relu") == 0 || strcmp(l.op, "tanh") == 0) {
            if (!nlayers || !is_weighted(&layer[nlayers - 1]))
                exit(3); /* nothing to fuse it into: not a network of this comparison */
            layer[nlayers - 1].fused = l.op[0] == 'r' ? 1 : 2;
        } else if (nlayers < MAX_LAYERS) {
            layer[nlayers++] = l;
        }
    }
    fclose(f);
}

static int last_conv(void) {
    int last = -1;
    for (int i = 0; i < nlayers; i++)
        if (strcmp(layer[i].op, "conv") == 0)
            last = i;
    return last;
}

/* Builds all steps; returns the first one that is timed. */
static int build(dnnl_dims_t image) {
    image[0] = batch;
    dnnl_memory_t v = memory_own(desc(4, image, dnnl_nchw), 1);
    int n = projecting ? last_conv() + 1 : nlayers;
    for (int i = 0; i < n; i++) {
        if (is_weighted(&layer[i]))
            weighted_forward(&layer[i], v);
        else
            simple_forward(&layer[i], v);
        v = layer[i].dst;
    }
    int first = projecting ? nsteps : 0;
    if (training || projecting) {
        dnnl_memory_t d = diff_memory(desc_of(v));
        int softmax = nsteps;
        if (training)
            add(NULL);
        dnnl_memory_t dy = d;
        for (int i = n - 1; i >= 0; i--)
            dy = is_weighted(&layer[i]) ? weighted_backward(&layer[i], dy, i == 0)
                                        : simple_backward(&layer[i], dy);
        ring_place(&diffs);
        if (training) {
            Step *s = &step[softmax];
            s->own = run_softmax;
            s->a = data_of(v);
            s->b = data_of(d);
            s->n = batch;
            s->classes = (long)layer[nlayers - 1].p[0];
        }
    }
    ring_place(&activations);
    return first;
}

static void run(int from) {
    for (int i = from; i < nsteps; i++)
        if (step[i].own)
            step[i].own(&step[i]);
        else
            CHECK(dnnl_primitive_execute(step[i].primitive, stream, step[i].nargs, step[i].arg));
    CHECK(dnnl_stream_wait(stream));
}

int main(int argc, char **argv) {
    enum { MOST = 400, LEAST = 3 };
    dnnl_dims_t image;
    if (argc != 5 || (batch = atoi(argv[2])) < 1) {
        fprintf(stderr, "usage: onednn LAYERS BATCH forward|train|project SECONDS\n");
        return 2;
    }
    training = strcmp(argv[3], "train") == 0;
    projecting = strcmp(argv[3], "project") == 0;
    read_layers(argv[1], image);
    CHECK(dnnl_engine_create(&engine, dnnl_cpu, 0));
    CHECK(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags));
    int first = build(image);
    const dnnl_version_t *v = dnnl_version();
    double warm = omp_get_wtime();
    run(0);
    warm = omp_get_wtime() - warm;
    if (warm < 3)
        run(first);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("oneDNN-%d.%d.%d %ld", v->major, v->minor, v->patch, usage.ru_maxrss / 1024);
    double begin = omp_get_wtime(), limit = atof(argv[4]);
    for (int i = 0; i < MOST && (i < (warm < 3 ? LEAST : 1) || omp_get_wtime() - begin < limit); i++) {
        double at = omp_get_wtime();
        run(first);
        printf(" %.4f", 1e3 * (omp_get_wtime() - at));
    }
    printf("\n");
    return 0;
}
