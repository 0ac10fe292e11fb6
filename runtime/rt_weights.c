/* rt_weights.c: weights from and to safetensors, strictly.
 *
 * Everything is compared before anything is read, and read into a second pool before the first is
 * given up, unless that holds initial values, which can be made again: a failure at any point
 * leaves the network as it was.  Tensors go from file to kernel layout, and back, in parts of a few
 * megabytes.  Tensors named "momentum.*" (a
 * checkpoint's optimizer state) are ignored, so a checkpoint can be used as weights.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_layout.h"
#include "rt_mask.h"
#include "rt_optim.h"
#include "rt_model.h"
#include "rt_safetensors.h"
#include "rt_text.h"
#include "rt_weights.h"

static void shape_text(char *buf, size_t size, int rank, const int64_t *dim) {
    size_t used = 0;
    buf[0] = 0;
    if (rank == 0)
        snprintf(buf, size, "one number");
    for (int i = 0; i < rank && used + 24 < size; i++)
        used +=
            (size_t)snprintf(buf + used, size - used, "%s%lld", i ? "x" : "", (long long)dim[i]);
}

static int same_shape(const rt_param *p, const st_tensor *t) {
    if (p->rank != t->rank)
        return 0;
    for (int i = 0; i < p->rank; i++)
        if (p->dim[i] != t->dims[i])
            return 0;
    return 1;
}

/* A convolution in groups whose weights stand in a wider table with links: files hold the groups
 * alone, [maps, inputs / groups, ..].  How many groups, 0: it is none, or the shapes differ. */
static int64_t groups_of(const rt_param *p, const st_tensor *t) {
    if (!p->links || p->rank < 2 || p->rank != t->rank || p->dim[0] != t->dims[0] ||
        t->dims[1] < 1 || t->dims[1] >= p->dim[1] || p->dim[1] % t->dims[1] != 0)
        return 0;
    int64_t groups = p->dim[1] / t->dims[1];
    if (p->dim[0] % groups != 0)
        return 0;
    for (int i = 2; i < p->rank; i++)
        if (p->dim[i] != t->dims[i])
            return 0;
    for (int64_t o = 0; o < p->dim[0]; o++)
        for (int64_t i = 0; i < p->dim[1]; i++)
            if (p->links[o * p->dim[1] + i] != (i / t->dims[1] == o / (p->dim[0] / groups)))
                return 0;
    return groups;
}

static int fits(const rt_param *p, const st_tensor *t) {
    return same_shape(p, t) || groups_of(p, t) > 0;
}

/* Rows first.. of a grouped tensor take their places in the wider table, last row first. */
static void spread_groups(const rt_param *p, const st_tensor *t, int64_t groups, float *room,
                          int64_t first, int64_t n) {
    int64_t wide = rt_param_count(p) / p->dim[0], narrow = t->count / t->dims[0];
    for (int64_t r = n - 1; r >= 0; r--) {
        int64_t at = (first + r) / (p->dim[0] / groups) * narrow;
        float *row = room + r * wide;
        memmove(row + at, room + r * narrow, (size_t)narrow * sizeof *row);
        memset(row, 0, (size_t)at * sizeof *row);
        memset(row + at + narrow, 0, (size_t)(wide - at - narrow) * sizeof *row);
    }
}

static int is_float(st_dtype d) {
    return d == ST_F32 || d == ST_F64 || d == ST_F16 || d == ST_BF16;
}

typedef struct Fit {
    int wanted, good, missing, wrong, unused;
    char table[640];
    size_t used;
    int lines;
    rt_text *all; /* receives every line, or NULL */
} Fit;

enum { FIT_LINES = 6 };

static void fit_line(Fit *f, const char *name, const char *file, const char *expected) {
    char clean[128];
    if (f->all)
        rt_text_printf(f->all, "%s: file %s, expected %s\n", name, file, expected);
    if (f->lines++ >= FIT_LINES || f->used + 200 > sizeof f->table)
        return;
    if (strlen(name) > 48)
        snprintf(clean, sizeof clean, "%.45s...", name);
    else
        snprintf(clean, sizeof clean, "%s", name);
    f->used += (size_t)snprintf(f->table + f->used, sizeof f->table - f->used,
                                "\n  %-20s file %-14s expected %s", clean, file, expected);
}

/* Does a pattern with * and ? name all of the text? */
static bool matches(const char *glob, size_t n, const char *text) {
    if (n == 0)
        return !*text;
    if (*glob == '*')
        return matches(glob + 1, n - 1, text) || (*text && matches(glob, n, text + 1));
    return *text && (*glob == '?' || *glob == *text) && matches(glob + 1, n - 1, text + 1);
}

/* Is the tensor among those to be left alone: a list of patterns between commas? */
static bool skipped(const char *list, const char *name) {
    while (list && *list) {
        size_t n = strcspn(list, ",");
        if (matches(list, n, name))
            return true;
        list += n + (list[n] == ',');
    }
    return false;
}

enum { STARS = 8, NAME_ROOM = 320 };

/* matches() that notes what the stars stand for: n pieces from[i] .. from[i] + size[i]. */
static bool captures(const char *glob, size_t n, const char *text, const char **from, size_t *size,
                     int stars) {
    if (n == 0)
        return !*text;
    if (*glob != '*')
        return *text && (*glob == '?' || *glob == *text) &&
               captures(glob + 1, n - 1, text + 1, from, size, stars);
    for (size_t k = 0; stars < STARS && k <= strlen(text); k++) {
        from[stars] = text;
        size[stars] = k;
        if (captures(glob + 1, n - 1, text + k, from, size, stars + 1))
            return true;
    }
    return false;
}

static size_t trim(const char **text, size_t n) {
    while (n > 0 && **text == ' ')
        (*text)++, n--;
    while (n > 0 && (*text)[n - 1] == ' ')
        n--;
    return n;
}

/* What the file calls parameter `name`: a rule "old -> new" whose new side names it gives the old
 * side, star for star; the first such rule holds, without one the name is the same. */
static const char *name_in_file(const char *map, const char *name, char room[NAME_ROOM]) {
    while (map && *map) {
        size_t n = strcspn(map, ","), used = 0;
        const char *arrow = strstr(map, "->"), *from[STARS];
        size_t size[STARS];
        if (arrow && (size_t)(arrow - map) < n) {
            const char *old = map, *new = arrow + 2;
            size_t old_n = trim(&old, (size_t)(arrow - map));
            size_t new_n = trim(&new, n - (size_t)(new - map));
            if (captures(new, new_n, name, from, size, 0)) {
                int star = 0;
                for (size_t i = 0; i < old_n && used + 1 < NAME_ROOM; i++)
                    if (old[i] != '*')
                        room[used++] = old[i];
                    else if (star < STARS)
                        used += (size_t)snprintf(room + used, NAME_ROOM - used, "%.*s",
                                                 (int)size[star], from[star]),
                            star++;
                room[used < NAME_ROOM ? used : NAME_ROOM - 1] = 0;
                return room;
            }
        }
        map += n + (map[n] == ',');
    }
    return name;
}

/* The file's tensor for parameter p, NULL if it has none. */
static const st_tensor *tensor_for(const netrt *m, const st_file *file, const rt_param *p) {
    char room[NAME_ROOM];
    return st_find(file, name_in_file(m->rename, p->name, room));
}

/* Is the tensor a parameter or its mask? */
static bool asked_for(const netrt *m, const st_file *file, const st_tensor *t) {
    char room[NAME_ROOM];
    for (int i = 0; i < m->model->nparams; i++) {
        const rt_param *p = &m->model->param[i];
        if (!rt_param_saved(p))
            continue;
        if (tensor_for(m, file, p) == t ||
            (rt_mask_names(t->name, name_in_file(m->rename, p->name, room)) && same_shape(p, t) &&
             rt_mask_type(t)))
            return true;
    }
    return false;
}

/* The masks of what was read; a network without any keeps all of its weights. */
static int take_masks(netrt *m, const st_file *file, rt_error *err) {
    char room[NAME_ROOM];
    rt_mask_clear(m);
    for (int i = 0; i < m->model->nparams && !err->code; i++) {
        const rt_param *p = &m->model->param[i];
        const st_tensor *t =
            rt_param_saved(p) && !skipped(m->skip, p->name) ? tensor_for(m, file, p) : NULL;
        if (t && same_shape(p, t))
            rt_mask_read(m, i, file, name_in_file(m->rename, p->name, room), err);
    }
    return err->code;
}

/* The mean of every pixel travels with the weights (data { mean = per_pixel }). */
static const char mean_name[] = "data.mean";

static int wants_mean(const rt_model *model) {
    return model->ninputs > 0 && model->input[0].mean_image != RT_MEAN_CHANNELS;
}

static int is_mean(const rt_model *model, const st_tensor *t) {
    const rt_input_spec *in = &model->input[0];
    return t->rank == 3 && t->dims[0] == in->c && t->dims[1] == in->h && t->dims[2] == in->w &&
           is_float(t->dtype);
}

static void compare_mean(const rt_model *model, const st_file *file, const char *skip, Fit *f) {
    char have[80] = "-", want[80];
    if (!wants_mean(model) || skipped(skip, mean_name))
        return;
    const rt_input_spec *in = &model->input[0];
    const st_tensor *t = st_find(file, mean_name);
    int64_t dims[3] = {in->c, in->h, in->w};
    f->wanted++;
    if (t && is_mean(model, t)) {
        f->good++;
        return;
    }
    shape_text(want, sizeof want, 3, dims);
    if (t)
        shape_text(have, sizeof have, t->rank, t->dims);
    f->wrong += t != NULL;
    f->missing += t == NULL;
    fit_line(f, mean_name, have, want);
}

static int take_mean(netrt *m, const st_file *file, rt_error *err) {
    const st_tensor *t =
        wants_mean(m->model) && !skipped(m->skip, mean_name) ? st_find(file, mean_name) : NULL;
    if (!t || !is_mean(m->model, t))
        return NETRT_OK;
    float *mean = rt_alloc((size_t)t->count, sizeof *mean, "mean image", err);
    if (!mean || st_read(file, t, mean, t->count, err)) {
        rt_free(mean);
        return err->code;
    }
    rt_free(m->data_mean);
    m->data_mean = mean;
    return NETRT_OK;
}

/* Compares the file with the network; fills the table with the first differences. */
static void compare(const netrt *m, const st_file *file, Fit *f) {
    const rt_model *model = m->model;
    const char *skip = m->skip;
    char have[80], want[80];
    *f = (Fit){.all = f->all};
    for (int i = 0; i < model->nparams; i++) {
        const rt_param *p = &model->param[i];
        if (!rt_param_saved(p) || skipped(skip, p->name))
            continue;
        f->wanted++;
        const st_tensor *t = tensor_for(m, file, p);
        shape_text(want, sizeof want, p->rank, p->dim);
        if (!t) {
            f->missing++;
            fit_line(f, p->name, "-", want);
        } else if (!fits(p, t) || !is_float(t->dtype)) {
            f->wrong++;
            shape_text(have, sizeof have, t->rank, t->dims);
            if (!is_float(t->dtype))
                snprintf(have, sizeof have, "%s", st_dtype_name(t->dtype));
            fit_line(f, p->name, have, want);
        } else {
            f->good++;
        }
    }
    compare_mean(model, file, skip, f);
    for (int i = 0; i < file->tensors; i++) {
        const st_tensor *t = &file->tensor[i];
        if (asked_for(m, file, t) || rt_is_state(t->name) || skipped(skip, t->name) ||
            (wants_mean(model) && strcmp(t->name, mean_name) == 0))
            continue;
        f->unused++;
        char clean[80];
        snprintf(clean, sizeof clean, "%.79s", t->name);
        for (char *c = clean; *c; c++)
            if ((unsigned char)*c < 32 || *c == 127)
                *c = '?';
        shape_text(have, sizeof have, t->rank, t->dims);
        fit_line(f, clean, have, "- (unused)");
    }
}

static int no_fit(const rt_model *model, const char *path, const Fit *f, int partial,
                  rt_error *err) {
    char more[48] = "";
    if (f->lines > FIT_LINES)
        snprintf(more, sizeof more, "\n  ... and %d more", f->lines - FIT_LINES);
    return rt_fail(err, NETRT_EDATA,
                   "%s does not fit %s (spec %.8s): %d of %d tensors match%s%s\n"
                   "  %d missing, %d of another shape, %d unused. Nothing was loaded.\n"
                   "help: %s",
                   path, model->name, model->spec_hash, f->good, f->wanted, f->table, more,
                   f->missing, f->wrong, f->unused,
                   partial ? "weights of another network?"
                           : "weights of another network? to take what fits: --partial");
}

/* Reads one tensor into pool, part by part; room: rt_part_room() numbers. */
static int read_one(const netrt *m, const st_file *file, const rt_param *p, const st_tensor *t,
                    char *pool, float *room, rt_error *err) {
    int64_t rows = rt_param_rows(p), size = t->count / rows, part = rt_param_part(p);
    int64_t groups = same_shape(p, t) ? 0 : groups_of(p, t);
    char *to = pool + p->offset;
    for (int64_t first = 0; first < rows; first += part) {
        int64_t n = rows - first < part ? rows - first : part;
        if (st_read_part(file, t, room, first * size, n * size, err))
            return err->code;
        if (groups)
            spread_groups(p, t, groups, room, first, n);
        rt_clear_missing(p, room, first, n);
        rt_param_pack(p, room, to, first, n, m->threads);
    }
    return NETRT_OK;
}

/* Reads every fitting tensor into pool. */
static int read_all(const netrt *m, const st_file *file, char *pool, float *room, rt_error *err) {
    const rt_model *model = m->model;
    for (int i = 0; i < model->nparams; i++) {
        const rt_param *p = &model->param[i];
        bool wanted = rt_param_saved(p) && !skipped(m->skip, p->name);
        const st_tensor *t = wanted ? tensor_for(m, file, p) : NULL;
        if (!t || !fits(p, t) || !is_float(t->dtype))
            continue;
        if (read_one(m, file, p, t, pool, room, err))
            return err->code;
    }
    return NETRT_OK;
}

/* Into the pool in use when it holds initial values, which can be made again after a failure; else
 * into a second one. */
static int read_pool(netrt *m, const st_file *file, rt_error *err) {
    size_t size = (size_t)m->model->param_bytes + 64;
    bool fresh = m->param_version == m->init_version;
    size_t bytes = (size_t)rt_part_room(m->model) * sizeof(float);
    float *room = rt_slab_alloc(bytes, "weights", err);
    char *pool = !room ? NULL : fresh ? m->param : rt_slab_alloc(size, "weights", err);
    if (pool && !fresh)
        memcpy(pool, m->param, size);
    if (pool && read_all(m, file, pool, room, err) == 0) {
        if (!fresh) {
            rt_slab_free(m->param, size);
            m->param = pool;
        }
        m->param_version++;
    } else if (pool && fresh) {
        rt_init_with(m, m->init_seed, room);
    } else {
        rt_slab_free(pool, size);
    }
    rt_slab_free(room, bytes);
    return err->code;
}

/* Class names are one metadata entry, separated by newlines. */
static void take_class_names(netrt *m, const char *text) {
    int64_t classes = m->model->classes, found = 0;
    rt_error ignored = {0};
    char *copy = text ? rt_strdup(text, &ignored) : NULL;
    char **names = rt_alloc_zero((size_t)classes + 1, sizeof *names, "class names", &ignored);
    if (copy && names) {
        for (char *p = copy; p && found <= classes; found++) {
            char *end = strchr(p, '\n');
            if (end)
                *end = 0;
            if (found < classes)
                names[found] = p;
            p = end ? end + 1 : NULL;
        }
        rt_set_class_names(m, names, found);
    }
    rt_free(names);
    rt_free(copy);
}

int rt_weights_differences(const netrt *m, const char *path, rt_text *out) {
    st_file file = {0};
    rt_error err = {0};
    Fit f = {.all = out};
    if (st_open(&file, path, ST_OPEN_NO_CHECKSUM, &err))
        return 0;
    compare(m, &file, &f);
    st_close(&file);
    return f.lines > FIT_LINES ? f.lines : 0;
}

int rt_weights_take(netrt *m, const st_file *file, int flags, int *loaded, rt_error *err) {
    Fit f = {0};
    int partial = (flags & NETRT_LOAD_PARTIAL) != 0;
    compare(m, file, &f);
    if (loaded)
        *loaded = f.good;
    if (partial || m->skip ? f.good == 0 || (!partial && (f.missing || f.wrong || f.unused))
                           : f.missing || f.wrong || f.unused)
        return no_fit(m->model, file->path, &f, partial, err);
    if (read_pool(m, file, err) || take_masks(m, file, err) || take_mean(m, file, err))
        return err->code;
    if (st_meta(file, "netc.classes"))
        take_class_names(m, st_meta(file, "netc.classes"));
    return NETRT_OK;
}

int rt_weights_load(netrt *m, const char *path, int flags, int *loaded, rt_error *err) {
    st_file file = {0};
    rt_error local = {0};
    if (!err)
        err = &local;
    if (st_open(&file, path, 0, err))
        return err->code;
    rt_weights_take(m, &file, flags, loaded, err);
    st_close(&file);
    return err->code;
}

int netrt_load(netrt *m, const char *path, int flags, rt_error *err) {
    return rt_weights_load(m, path, flags, NULL, err);
}

/* ---- writing ---- */

void rt_preprocess_text(const rt_model *model, char *buf, size_t size) {
    const rt_input_spec *s = &model->input[0];
    snprintf(buf, size,
             "channels=%lld height=%lld width=%lld resize_short=%d crop=%d pad=%d lo=%.9g hi=%.9g "
             "mean=%.9g,%.9g,%.9g std=%.9g,%.9g,%.9g bgr=%d",
             (long long)s->c, (long long)s->h, (long long)s->w, s->resize_short, s->crop, s->pad,
             (double)s->lo, (double)s->hi, (double)s->mean[0], (double)s->mean[1],
             (double)s->mean[2], (double)s->std[0], (double)s->std[1], (double)s->std[2], s->bgr);
}

static int add_class_names(const netrt *m, st_writer *w, rt_error *err) {
    size_t size = 1;
    if (!m->class_names)
        return NETRT_OK;
    for (int64_t i = 0; i < m->model->classes; i++)
        size += (m->class_names[i] ? strlen(m->class_names[i]) : 0) + 1;
    char *text = rt_alloc(size, 1, "class names", err), *p = text;
    if (!text)
        return err->code;
    for (int64_t i = 0; i < m->model->classes; i++) {
        size_t n = m->class_names[i] ? strlen(m->class_names[i]) : 0;
        if (i)
            *p++ = '\n';
        if (n)
            memcpy(p, m->class_names[i], n);
        p += n;
    }
    *p = 0;
    int code = st_writer_meta(w, "netc.classes", text, err);
    rt_free(text);
    return code;
}

/* ---- tensors of a file that is being written ---- */

struct rt_weights_hold { /* the part now unpacked */
    const netrt *m;
    float *room;
    struct Entry { /* what one tensor of the file is made from */
        struct rt_weights_hold *hold;
        const rt_param *p;
        const float *pool;
    } entry[];
};

/* st_source: the part that begins with element first. */
static int64_t unpack_part(void *context, int64_t first, const void **data) {
    const struct Entry *e = context;
    int64_t rows = rt_param_rows(e->p), size = rt_param_count(e->p) / rows, row = first / size;
    int64_t n = rt_param_part(e->p);
    n = n < rows - row ? n : rows - row;
    rt_param_unpack(e->p, e->pool, e->hold->room, row, n, e->hold->m->threads);
    *data = e->hold->room;
    return n * size;
}

static void add_entry(struct rt_weights_hold *hold, int *count, st_writer *w, const char *name,
                      const rt_param *p, const char *pool, rt_error *err) {
    struct Entry *e = &hold->entry[(*count)++];
    *e = (struct Entry){hold, p, (const float *)(const void *)pool};
    st_writer_add_source(w, name, ST_F32, p->rank, p->dim, unpack_part, e, err);
}

void rt_weights_release(struct rt_weights_hold *hold) {
    if (hold)
        rt_free(hold->room);
    rt_free(hold);
}

int rt_weights_add(const netrt *m, st_writer *w, int with_state, struct rt_weights_hold **out,
                   rt_error *err) {
    const rt_model *model = m->model;
    int count = 0;
    char name[320], prep[512];
    size_t entries = (size_t)model->nparams * 4; /* weights and state */
    struct rt_weights_hold *hold = *out =
        rt_alloc(1, sizeof *hold + entries * sizeof hold->entry[0], "weights to write", err);
    if (!hold)
        return err->code;
    hold->m = m;
    hold->room = rt_alloc((size_t)rt_part_room(model), sizeof *hold->room, "weights to write", err);
    if (!hold->room)
        return err->code;
    for (int i = 0; i < model->nparams; i++) {
        const rt_param *p = &model->param[i];
        if (rt_param_saved(p))
            add_entry(hold, &count, w, p->name, p, m->param + p->offset, err);
        for (int k = 0; with_state && rt_param_trained(p) && k < rt_states(model); k++) {
            snprintf(name, sizeof name, "%s%s", rt_state_prefix(model, k), p->name);
            add_entry(hold, &count, w, name, p, m->state + rt_state_offset(p, k), err);
        }
    }
    rt_mask_write(m, w, err);
    if (m->data_mean) {
        const rt_input_spec *in = &model->input[0];
        const int64_t dims[3] = {in->c, in->h, in->w};
        st_writer_add(w, mean_name, ST_F32, 3, dims, m->data_mean, err);
    }
    rt_preprocess_text(model, prep, sizeof prep);
    st_writer_meta(w, "format", "pt", err);
    st_writer_meta(w, "netc.model", model->name, err);
    st_writer_meta(w, "netc.spec", model->spec_hash, err);
    st_writer_meta(w, "netc.version", model->version, err);
    st_writer_meta(w, "netc.preprocess", prep, err);
    add_class_names(m, w, err);
    return err->code;
}

int netrt_save(netrt *m, const char *path, rt_error *err) {
    st_writer *w;
    struct rt_weights_hold *hold = NULL;
    rt_error local = {0};
    if (!err)
        err = &local;
    if (st_writer_begin(&w, err))
        return err->code;
    st_writer_meta(w, "netc.kind", "weights", err);
    if (rt_weights_add(m, w, 0, &hold, err))
        st_writer_abort(w);
    else
        st_writer_finish(w, path, err);
    rt_weights_release(hold);
    return err->code;
}
