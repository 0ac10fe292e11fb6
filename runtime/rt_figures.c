/* rt_figures.c: which figures a net has, and their counts (rt_figures.h). */
#include "rt_figures.h"

#include <stdio.h>

enum { TOP = 5 };

static void add(rt_figure *at, int *n, const char *of, const char *what, int loss, int output, int k) {
    snprintf(at[*n].name, sizeof at[*n].name, "%.80s%s", of, what);
    at[*n].loss = loss;
    at[*n].output = output;
    at[*n].k = k;
    ++*n;
}

static int has(const rt_figure *at, int n, int output, int k) {
    for (int i = 0; i < n; i++)
        if (at[i].loss < 0 && at[i].output == output && at[i].k == k)
            return i;
    return -1;
}

/* The first output's error, and its top-5 error where that is told. */
static int is_plain(const rt_model *model, const rt_metric *m) {
    return m->output == 0 && (m->k == 1 || (m->k == TOP && model->classes > TOP));
}

int rt_figures(const rt_model *model, int mapped, rt_figure at[RT_FIGURES_MAX]) {
    int n = 0, nlosses = model->program[RT_FORWARD].nlosses;
    char name[96];
    for (int k = 0; k < nlosses && nlosses > 1; k++) {
        snprintf(name, sizeof name, "loss.%.80s", rt_loss_name(model, RT_FORWARD, k));
        add(at, &n, name, "", k, 0, 0);
    }
    if (mapped || model->label_classes < 1)
        return n;
    for (int i = 0; i < model->nmetrics; i++) {
        const rt_metric *m = &model->metric[i];
        if (!is_plain(model, m) && has(at, n, m->output, m->k) < 0)
            add(at, &n, m->name, "", -1, m->output, m->k);
    }
    for (int i = 1; i < (int)model->noutputs; i++) {
        const rt_output *o = &model->output[i];
        if (!(o->flags & RT_OUTPUT_JUDGED))
            continue;
        if (has(at, n, i, 1) < 0)
            add(at, &n, o->name, ".error", -1, i, 1);
        if (o->dim[0] > TOP && has(at, n, i, TOP) < 0)
            add(at, &n, o->name, ".top5", -1, i, TOP);
    }
    return n;
}

int rt_figures_find(const rt_figure *at, int count, const rt_metric *metric) {
    return has(at, count, metric->output, metric->k);
}

int64_t rt_figures_room(const rt_model *model) {
    int64_t most = model->classes > 0 ? model->classes : 1;
    for (int i = 0; i < (int)model->noutputs; i++)
        if (model->output[i].score >= 0 && model->output[i].dim[0] > most)
            most = model->output[i].dim[0];
    return most;
}

void rt_figures_count(const netrt *m, const rt_figure *at, int count, const int32_t *label,
                      int64_t n, const float *first, float *room, int64_t *wrong) {
    const rt_model *model = m->model;
    for (int i = 0; i < count; i++) {
        if (at[i].loss >= 0 || (first == NULL && at[i].output == 0))
            continue;
        const rt_output *o = &model->output[at[i].output];
        int64_t classes = at[i].output ? o->dim[0] : model->classes;
        int smallest = o->flags & RT_OUTPUT_SMALLEST;
        for (int64_t k = 0; k < n; k++) {
            const float *row = at[i].output ? room : first + k * classes;
            if (at[i].output)
                rt_tensor_read(m, RT_FORWARD, o->score, k, room);
            wrong[i] += label[k] >= classes || (at[i].k == 1
                            ? rt_best_of(row, classes, smallest) != label[k]
                            : rt_rank_of(row, classes, smallest, label[k]) >= at[i].k);
        }
    }
}
