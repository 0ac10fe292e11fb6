/* rt_mimic.c: Gram matrices and layers of pictures as terms of an objective (rt_mimic.h). */
#include "rt_mimic.h"

#include <math.h>
#include <string.h>

#include "rt_alloc.h"

/* ---- layers ---- */

static int read_names(rt_viz *v, const char *names, int *seed, int *n, rt_error *err) {
    int more;
    while ((more = rt_viz_next_layer(v, &names, &seed[*n], err)) == 1)
        if (++*n == RT_BACK_MAX)
            return rt_fail(err, NETRT_EUSAGE, "at most %d layers can be named", RT_BACK_MAX - 1);
    return err->code;
}

/* Does a convolution look at neighbours?  1x1 ones say nothing of texture that others do not. */
static int is_wide(const rt_model *model, int seed) {
    const char *label = model->program[RT_LOOK].seed[seed].label;
    for (int p = 0; p < model->nparams; p++) {
        const rt_param *w = &model->param[p];
        int64_t window = 1;
        for (int d = 2; d < w->rank; d++)
            window *= w->dim[d];
        if (window > 1 && strcmp(w->label, label) == 0)
            return 1;
    }
    return 0;
}

/* Sizes of maps in the order of the network: first[i] the first convolution of size i that looks at
 * neighbours (the first one, if none does), second[i] the second such or -1. */
static int find_sizes(rt_viz *v, int first[RT_BACK_MAX], int second[RT_BACK_MAX]) {
    enum { LAYERS = 1024 };
    int seed[LAYERS], layers = rt_viz_conv_layers(v, seed, LAYERS), n = 0, wide[RT_BACK_MAX];
    int64_t cells[RT_BACK_MAX];
    for (int i = 0; i < layers; i++) {
        int64_t chw[3];
        rt_seed_shape(v->m->model, seed[i], chw);
        int at = 0, is = is_wide(v->m->model, seed[i]);
        while (at < n && cells[at] != chw[1] * chw[2])
            at++;
        if (chw[1] * chw[2] < 2 || at == RT_BACK_MAX - 1)
            continue;
        if (at == n) {
            cells[n] = chw[1] * chw[2];
            first[n] = seed[i];
            wide[n] = is;
            second[n++] = -1;
        } else if (is && !wide[at]) {
            first[at] = seed[i];
            wide[at] = 1;
        } else if (is && second[at] < 0) {
            second[at] = seed[i];
        }
    }
    return n;
}

int rt_mimic_layers(rt_mimic *m, rt_viz *v, const char *style, const char *content, rt_error *err) {
    int first[RT_BACK_MAX], second[RT_BACK_MAX], n = find_sizes(v, first, second);
    *m = (rt_mimic){.v = v};
    if (n == 0 && !(style && content))
        return rt_fail(err, NETRT_EUSAGE, "%s has no convolutions whose maps could be matched\n"
                       "help: name layers with --layer and --content-layer", v->m->model->name);
    if (style ? read_names(v, style, m->style, &m->nstyle, err) : 0)
        return err->code;
    for (int i = 0; !style && i < n; i++)
        m->style[m->nstyle++] = first[i];
    if (content)
        return read_names(v, content, m->content, &m->ncontent, err);
    int at = n > 1 ? n - 2 : 0;
    m->content[m->ncontent++] = second[at] >= 0 ? second[at] : first[at];
    return NETRT_OK;
}

/* ---- terms ---- */

static int64_t cells_of(const rt_mimic *m, int seed, int64_t *maps) {
    int64_t chw[3];
    rt_seed_shape(m->v->m->model, seed, chw);
    *maps = chw[0];
    return chw[1] * chw[2];
}

/* Numbers of all targets, -1: too many. */
static int64_t count_targets(const rt_mimic *m, int nstyles, int contents) {
    int64_t sum = 0, maps, one;
    for (int i = 0; i < m->nstyle; i++) {
        cells_of(m, m->style[i], &maps);
        if (__builtin_mul_overflow(maps * maps, (int64_t)nstyles, &one) ||
            __builtin_add_overflow(sum, one, &sum))
            return -1;
    }
    for (int i = 0; i < contents; i++) {
        int64_t cells = cells_of(m, m->content[i], &maps);
        if (__builtin_add_overflow(sum, maps * cells, &sum))
            return -1;
    }
    return sum;
}

static size_t gram_room(const rt_mimic *m, int threads) {
    int64_t most = 1;
    for (int i = 0; i < m->nstyle; i++) {
        int64_t maps, cells = cells_of(m, m->style[i], &maps);
        int64_t need = rt_gram_room(maps, cells, threads);
        most = need > most ? need : most;
    }
    return (size_t)most;
}

/* Means of |F| of the style layers, then of the content layers, summed over pictures. */
typedef struct Means {
    double sum[2 * RT_BACK_MAX];
    int pictures;
} Means;

static int record(rt_mimic *m, const float *picture, Means *means, float *room, rt_error *err) {
    int need[2 * RT_BACK_MAX], all = m->nstyle + m->ncontent;
    memcpy(need, m->style, (size_t)m->nstyle * sizeof *need);
    memcpy(need + m->nstyle, m->content, (size_t)m->ncontent * sizeof *need);
    m->v->m->frame.input[0] = picture;
    if (rt_look_record_for(&m->v->look, need, all, 1, err))
        return err->code;
    for (int i = 0; i < all; i++) {
        int64_t maps, n = cells_of(m, need[i], &maps);
        n *= maps;
        rt_look_values(&m->v->look, need[i], 0, room);
        double sum = 0;
        for (int64_t k = 0; k < n; k++)
            sum += fabs((double)room[k]);
        means->sum[i] += sum / (double)n;
    }
    means->pictures++;
    return NETRT_OK;
}

/* Weights in units of the layers' means. */
static void weigh(rt_mimic *m, const Means *means, const double *share, double alpha, double beta) {
    for (int i = 0; i < m->nterms; i++) {
        rt_term *t = &m->term[i];
        int gram = i < m->ngram, at = gram ? i % m->nstyle : m->nstyle + i - m->ngram;
        double mean = means->sum[at] / means->pictures;
        int64_t maps;
        double cells = (double)cells_of(m, t->seed, &maps), c = (double)maps;
        mean = mean > 0 ? mean : 1;
        t->weight = gram ? beta * share[i / m->nstyle] /
                               (m->nstyle * 4 * c * c * cells * cells * mean * mean * mean * mean)
                         : alpha / (m->ncontent * 2 * c * cells * mean * mean);
    }
}

int rt_mimic_open(rt_mimic *m, const float *const *style, const double *share, int nstyles,
                  const float *content, double alpha, double beta, rt_error *err) {
    int contents = content && alpha > 0 ? m->ncontent : 0;
    Means means = {.pictures = 0};
    m->ngram = nstyles * m->nstyle;
    m->ntarget = count_targets(m, nstyles, contents);
    if (m->ntarget < 0)
        return rt_fail(err, NETRT_ELIMIT, "the layers chosen are too large together");
    m->term = rt_alloc_zero((size_t)(m->ngram + contents + 1), sizeof *m->term, "terms", err);
    if (!err->code)
        m->target = rt_alloc((size_t)m->ntarget + 1, sizeof *m->target, "targets", err);
    float *room = NULL;
    rt_gram_how how = {.threads = m->v->m->threads, .fma = rt_gram_fma(m->v->m->model)};
    if (!err->code)
        room = rt_alloc((size_t)m->v->look.seed_room + 1, sizeof *room, "a layer's values", err);
    if (!err->code)
        how.room = rt_alloc(gram_room(m, how.threads), sizeof(float), "Gram matrices", err);
    float *at = m->target;
    for (int s = 0; s <= nstyles && !err->code; s++) {
        const float *picture = s < nstyles ? style[s] : content;
        if (!picture || record(m, picture, &means, room, err))
            continue;
        for (int i = 0; i < (s < nstyles ? m->nstyle : contents); i++) {
            int seed = s < nstyles ? m->style[i] : m->content[i];
            int64_t maps, cells = cells_of(m, seed, &maps);
            m->term[m->nterms++] = (rt_term){
                .kind = s < nstyles ? RT_TERM_GRAM : RT_TERM_MATCH, .seed = seed, .image = -1,
                .target = at};
            rt_look_values(&m->v->look, seed, 0, s < nstyles ? room : at);
            rt_maps f = rt_maps_plain(room, maps, 1, cells);
            if (s < nstyles)
                rt_gram(&f, at, &how);
            at += s < nstyles ? maps * maps : maps * cells;
        }
    }
    rt_free(room);
    rt_free(how.room);
    if (!err->code)
        weigh(m, &means, share, alpha, beta);
    return err->code;
}

void rt_mimic_close(rt_mimic *m) {
    rt_free(m->term);
    rt_free(m->target);
    m->term = NULL;
    m->target = NULL;
}

/* ---- cost ---- */

void rt_mimic_flops(const rt_mimic *m, double *network, double *gram) {
    int seed[RT_BACK_MAX], n = 0;
    *gram = 0;
    for (int i = 0; i < m->nterms; i++) {
        const rt_term *t = &m->term[i];
        int64_t maps, cells = cells_of(m, t->seed, &maps);
        if (n < RT_BACK_MAX)
            seed[n++] = t->seed;
        if (i < m->nstyle) /* half a product for the matrix, a whole one for its gradient */
            *gram += 3 * (double)maps * (double)maps * (double)cells;
    }
    *network = rt_look_flops(&m->v->look, seed, n);
}
