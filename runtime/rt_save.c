/* rt_save.c: what a network computed, as .npy and .png files (rt_save.h).
 *
 * requires: a run of the program "forward".  A folder's files are called like the samples, with "_"
 * for what no file name should have.
 */
#include "rt_save.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_npz.h"

int64_t rt_output_count(const rt_output *o) {
    int64_t n = 1;
    for (int i = 0; i < o->rank; i++)
        n *= o->dim[i];
    return n;
}

int rt_output_find(const rt_model *model, const char *name) {
    for (int i = 0; i < (int)model->noutputs; i++)
        if (strcmp(model->output[i].name, name) == 0)
            return i;
    return -1;
}

const char *rt_output_list(const rt_model *model, char *text, size_t size) {
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < (int)model->noutputs && used + 1 < size; i++) {
        int n = snprintf(text + used, size - used, "%s%s", i ? ", " : "", model->output[i].name);
        used += n > 0 ? (size_t)n : 0;
    }
    return text;
}

void rt_output_read(const netrt *m, int which, int64_t image, float *out) {
    rt_tensor_read(m, RT_FORWARD, m->model->output[which].tensor, image, out);
}

int rt_output_is_picture(const rt_model *model) {
    const rt_output *o = model->output;
    if (model->noutputs > 0 && model->classes == 0)
        return 1;
    return model->noutputs > 0 && o->rank == 3 && o->dim[1] * o->dim[2] > 1 &&
           model->nmetrics == 0 && model->program[RT_FORWARD].nlosses == 0;
}

static int has_ending(const char *path, const char *ending) {
    size_t n = strlen(path), k = strlen(ending);
    return n > k && strcmp(path + n - k, ending) == 0;
}

/* The range of pixels is that of the first input. */
static int to_picture(const rt_model *model, const int64_t *dim, const float *v, rt_image *img,
                      rt_error *err) {
    const rt_input_spec *s = &model->input[0];
    int64_t cells = dim[1] * dim[2];
    int maps = (int)dim[0];
    double scale = s->hi != s->lo ? 255 / ((double)s->hi - (double)s->lo) : 1;
    if (dim[1] > RT_IMAGE_MAX_SIDE || dim[2] > RT_IMAGE_MAX_SIDE)
        return rt_fail(err, NETRT_ELIMIT, "the output is too large for a picture");
    if (rt_image_reserve(img, (int)dim[2], (int)dim[1], maps, err))
        return err->code;
    for (int64_t i = 0; i < cells; i++)
        for (int c = 0; c < maps; c++) {
            int from = s->bgr && maps == 3 ? 2 - c : c;
            double x = ((double)v[from * cells + i] - (double)s->lo) * scale;
            img->data[i * maps + c] = (unsigned char)(x >= 254.5 ? 255 : x > 0 ? x + 0.5 : 0);
        }
    return NETRT_OK;
}

static int write_one(const rt_model *model, const char *path, int rank, const int64_t *dim,
                     const float *v, rt_error *err) {
    rt_image img = {0};
    if (!has_ending(path, ".png"))
        return rt_npy_write(path, rank, dim, v, err);
    if (to_picture(model, dim, v, &img, err) == 0)
        rt_png_write(&img, path, err);
    rt_image_free(&img);
    return err->code;
}

/* "photos/cat.jpg" -> "DIR/photos_cat", "test.npz[7]" -> "DIR/test_7_" */
static void file_in(const char *dir, const char *name, char *path, size_t cap) {
    size_t n = strlen(dir);
    const char *dot = strrchr(name, '.'), *slash = strrchr(name, '/');
    size_t end =
        dot && dot > name && (!slash || dot > slash + 1) ? (size_t)(dot - name) : strlen(name);
    int used = snprintf(path, cap, "%s%s", dir, n && dir[n - 1] == '/' ? "" : "/");
    size_t at = used > 0 && (size_t)used < cap ? (size_t)used : cap - 1;
    size_t first = 0;
    while (name[first] == '/' || (name[first] == '.' && strchr("./", name[first + 1])))
        first++;
    size_t all = strlen(name), number = end + strcspn(name + end, "[");
    for (size_t i = first; i < all && at + 6 < cap; i++) {
        if (i >= end && i < number)
            continue;
        unsigned char c = (unsigned char)name[i];
        path[at++] = isalnum(c) || strchr(".-+#@", c) || c >= 0x80 ? (char)c : '_';
    }
    path[at] = 0;
}

static void with_ending(char *path, size_t cap, size_t n, const char *ending) {
    snprintf(path + n, cap > n ? cap - n : 0, "%s", ending);
}

/* Several outputs: "x.npy" -> "x.OUTPUT.npy". */
static void name_output(const char *to, const char *output, int many, char *path, size_t cap) {
    int stem = (int)strlen(to) - 4;
    snprintf(path, cap, "%.*s%s%s%s", stem, to, many ? "." : "", many ? output : "", to + stem);
}

int rt_save_output(const netrt *m, int which, int many, int64_t image, const char *to,
                   const char *name, char *path, size_t cap, rt_error *err) {
    const rt_model *model = m->model;
    if (which < 0 || which >= (int)model->noutputs)
        return rt_fail(err, NETRT_EUSAGE, "%s has no output to save", model->name);
    const rt_output *o = &model->output[which];
    int colours = o->rank == 3 && (o->dim[0] == 1 || o->dim[0] == 3);
    if (has_ending(to, ".png") && !colours)
        return rt_fail(err, NETRT_EUSAGE,
                       "the output '%s' of %s is no picture of 1 or 3 maps\n"
                       "help: --save=NAME.npy saves its numbers%s",
                       o->name, model->name, many ? ", --output=NAME chooses another" : "");
    float *v = rt_alloc((size_t)rt_output_count(o), sizeof *v, "the output", err);
    if (!v)
        return err->code;
    rt_output_read(m, which, image, v);
    if (has_ending(to, ".npy") || has_ending(to, ".png")) {
        name_output(to, o->name, many, path, cap);
        write_one(model, path, o->rank, o->dim, v, err);
    } else if (rt_io_make_dirs(to, err) == 0) {
        file_in(to, name, path, cap);
        size_t n = strlen(path);
        if (many && n + strlen(o->name) + 6 < cap)
            n += (size_t)snprintf(path + n, cap - n, ".%s", o->name);
        with_ending(path, cap, n, ".npy");
        write_one(model, path, o->rank, o->dim, v, err);
        with_ending(path, cap, n, ".png");
        if (colours && !err->code)
            write_one(model, path, o->rank, o->dim, v, err);
        with_ending(path, cap, n, colours ? ".png" : ".npy");
    }
    rt_free(v);
    return err->code;
}
