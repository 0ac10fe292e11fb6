/* rt_ckpt.c: writes and reads checkpoints (rt_ckpt.h).
 *
 * ensures: resuming gives the bits of an uninterrupted run; a failed write leaves the old file.
 */
#include "rt_ckpt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_layout.h"
#include "rt_optim.h"
#include "rt_weights.h"

/* One row per field: the same table writes and reads. */
typedef struct Field {
    const char *name;
    enum { F_INT, F_UNSIGNED, F_REAL } kind;
    size_t offset;
} Field;
#define FIELD(name, kind, member)                                                                  \
    { "netc." name, kind, offsetof(rt_run_state, member) }
static const Field field[] = {
    FIELD("step", F_INT, step),
    FIELD("epoch", F_INT, epoch),
    FIELD("position", F_INT, position),
    FIELD("samples", F_INT, samples),
    FIELD("batch", F_INT, batch),
    FIELD("seed", F_UNSIGNED, seed),
    FIELD("lr", F_REAL, lr),
    FIELD("momentum", F_REAL, momentum),
    FIELD("decay", F_REAL, decay),
    FIELD("plateau_factor", F_REAL, plateau.factor),
    FIELD("plateau_best", F_REAL, plateau.best),
    FIELD("plateau_bad", F_INT, plateau.bad),
    FIELD("best_error", F_REAL, best_error),
    FIELD("best_epoch", F_INT, best_epoch),
    FIELD("row_loss", F_REAL, row.loss),
    FIELD("row_images", F_INT, row.images),
    FIELD("row_wrong", F_INT, row.wrong),
    FIELD("epoch_loss", F_REAL, whole.loss),
    FIELD("epoch_images", F_INT, whole.images),
    FIELD("epoch_wrong", F_INT, whole.wrong),
    FIELD("seconds", F_REAL, seconds),
    FIELD("log_csv", F_INT, log_size[0]),
    FIELD("log_jsonl", F_INT, log_size[1]),
    FIELD("other_loss", F_REAL, other.loss), /* from here on: older files have them not */
    FIELD("other_images", F_INT, other.images),
    FIELD("other_wrong", F_INT, other.wrong),
};
enum { FIELDS = sizeof field / sizeof field[0], FIELDS_NEW = 3 };

int rt_ckpt_save(netrt *m, const char *path, const rt_run_state *s, rt_error *err) {
    st_writer *w;
    struct rt_weights_hold *hold = NULL;
    char text[64];
    if (st_writer_begin(&w, err))
        return err->code;
    st_writer_meta(w, "netc.kind", "checkpoint", err);
    for (int i = 0; i < FIELDS; i++) {
        const void *at = (const char *)s + field[i].offset;
        if (field[i].kind == F_INT)
            snprintf(text, sizeof text, "%" PRId64, *(const int64_t *)at);
        else if (field[i].kind == F_UNSIGNED)
            snprintf(text, sizeof text, "%" PRIu64, *(const uint64_t *)at);
        else
            snprintf(text, sizeof text, "%a", *(const double *)at);
        st_writer_meta(w, field[i].name, text, err);
    }
    if (rt_weights_add(m, w, 1, &hold, err))
        st_writer_abort(w);
    else
        st_writer_finish(w, path, err);
    rt_weights_release(hold);
    return err->code;
}

static int read_field(const st_file *file, const Field *f, rt_run_state *s) {
    const char *text = st_meta(file, f->name);
    char *end, *at = (char *)s + f->offset;
    if (!text || !*text)
        return 0;
    if (f->kind == F_INT)
        *(int64_t *)(void *)at = strtoll(text, &end, 10);
    else if (f->kind == F_UNSIGNED)
        *(uint64_t *)(void *)at = strtoull(text, &end, 10);
    else
        *(double *)(void *)at = strtod(text, &end);
    return *end == 0;
}

static int check(const netrt *m, const st_file *file, rt_run_state *s, rt_error *err) {
    const char *kind = st_meta(file, "netc.kind"), *spec = st_meta(file, "netc.spec");
    if (!kind || strcmp(kind, "checkpoint") != 0)
        return rt_fail(err, NETRT_EDATA,
                       "%s is not a checkpoint: it has no optimizer state\n"
                       "help: to start from these weights use --weights=%s",
                       file->path, file->path);
    if (!spec || strcmp(spec, m->model->spec_hash) != 0)
        return rt_fail(err, NETRT_EDATA,
                       "%s was made by another version of %s (spec %.8s, this is %.8s)\n"
                       "help: to start from its weights use --weights=%s",
                       file->path, m->model->spec_file, spec ? spec : "?", m->model->spec_hash,
                       file->path);
    for (int i = 0; i < FIELDS; i++)
        if (!read_field(file, &field[i], s) &&
            (i < FIELDS - FIELDS_NEW || st_meta(file, field[i].name)))
            return rt_fail(err, NETRT_EDATA, "%s: %s is missing or malformed", file->path,
                           field[i].name);
    if (s->step < 0 || s->epoch < 0 || s->position < 0 || s->samples < 1 || s->batch < 1 ||
        s->log_size[0] < 0 || s->log_size[1] < 0)
        return rt_fail(err, NETRT_EDATA, "%s: impossible position", file->path);
    return NETRT_OK;
}

static void read_state(netrt *m, const st_file *file, const rt_param *p, int which,
                       const st_tensor *t, rt_error *err) {
    int64_t rows = rt_param_rows(p), size = rt_param_count(p) / rows, part = rt_param_part(p);
    float *pool = (float *)(void *)(m->state + rt_state_offset(p, which));
    float *v = rt_alloc((size_t)(part * size), sizeof *v, "optimizer state", err);
    for (int64_t first = 0; v && first < rows && !err->code; first += part) {
        int64_t n = rows - first < part ? rows - first : part;
        if (st_read_part(file, t, v, first * size, n * size, err) == 0)
            rt_layout_pack_rows(&p->layout, v, pool, first, n, m->threads);
    }
    rt_free(v);
}

int rt_ckpt_load(netrt *m, const char *path, rt_run_state *s, rt_error *err) {
    st_file file = {0};
    char name[320];
    if (st_open(&file, path, 0, err))
        return err->code;
    if (check(m, &file, s, err) == 0)
        rt_weights_take(m, &file, 0, NULL, err);
    for (int i = 0; i < m->model->nparams && !err->code; i++) {
        const rt_param *p = &m->model->param[i];
        for (int k = 0; rt_param_trained(p) && k < rt_states(m->model) && !err->code; k++) {
            snprintf(name, sizeof name, "%s%s", rt_state_prefix(m->model, k), p->name);
            const st_tensor *t = st_find(&file, name);
            if (!t || t->count != rt_param_count(p) || t->dtype != ST_F32)
                rt_fail(err, NETRT_EDATA, "%s: %s is missing or of the wrong size", path, name);
            else
                read_state(m, &file, p, k, t, err);
        }
    }
    st_close(&file);
    return err->code;
}
