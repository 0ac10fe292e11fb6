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

static int output_of(const rt_model *model) {
    const rt_program *p = &model->program[RT_FORWARD];
    return p->prob >= 0 ? p->prob : p->output;
}

int rt_output_shape(const rt_model *model, int64_t dim[4]) {
    int at = output_of(model);
    dim[0] = dim[1] = dim[2] = dim[3] = 1;
    if (at < 0)
        return 0;
    const rt_tensor *t = &model->program[RT_FORWARD].tensor[at];
    int64_t frames = rt_tensor_frames(t);
    int rank = 0;
    for (int i = 0; i < t->layout.rank && rank < 4; i++) {
        dim[rank++] = t->layout.dim[i];
        if (i == 0 && frames > 1)
            dim[rank++] = frames;
    }
    return rank;
}

int rt_output_is_picture(const rt_model *model) {
    int64_t dim[4];
    return rt_output_shape(model, dim) == 3 && dim[1] * dim[2] > 1 && model->nmetrics == 0 &&
           model->program[RT_FORWARD].nlosses == 0;
}

static int has_ending(const char *path, const char *ending) {
    size_t n = strlen(path), k = strlen(ending);
    return n > k && strcmp(path + n - k, ending) == 0;
}

/* The range of pixels is that of the first input. */
static int to_picture(const rt_model *model, const int64_t dim[4], const float *v, rt_image *img,
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

static int write_one(const rt_model *model, const char *path, int rank, const int64_t dim[4],
                     const float *v, rt_error *err) {
    rt_image img = {0};
    if (!has_ending(path, ".png"))
        return rt_npy_write(path, rank, dim, v, err);
    if (to_picture(model, dim, v, &img, err) == 0)
        rt_png_write(&img, path, err);
    rt_image_free(&img);
    return err->code;
}

/* "photos/cat.jpg" -> "DIR/photos_cat" */
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
    for (size_t i = first; i < end && at + 6 < cap; i++) {
        unsigned char c = (unsigned char)name[i];
        path[at++] = isalnum(c) || strchr(".-+#@", c) || c >= 0x80 ? (char)c : '_';
    }
    path[at] = 0;
}

int rt_save_output(const netrt *m, int64_t image, const char *to, const char *name, char *path,
                   size_t cap, rt_error *err) {
    const rt_model *model = m->model;
    int64_t dim[4];
    int at = output_of(model), rank = rt_output_shape(model, dim);
    int colours = rank == 3 && (dim[0] == 1 || dim[0] == 3);
    if (at < 0)
        return rt_fail(err, NETRT_EUSAGE, "%s has no output to save", model->name);
    if (has_ending(to, ".png") && !colours)
        return rt_fail(err, NETRT_EUSAGE,
                       "the output of %s is no picture of 1 or 3 maps\n"
                       "help: --save=NAME.npy saves its numbers",
                       model->name);
    float *v = rt_alloc((size_t)(dim[0] * dim[1] * dim[2] * dim[3]), sizeof *v, "the output", err);
    if (!v)
        return err->code;
    rt_tensor_read(m, RT_FORWARD, at, image, v);
    if (has_ending(to, ".npy") || has_ending(to, ".png")) {
        snprintf(path, cap, "%s", to);
        write_one(model, path, rank, dim, v, err);
    } else if (rt_io_make_dirs(to, err) == 0) {
        file_in(to, name, path, cap);
        size_t n = strlen(path);
        snprintf(path + n, cap - n, ".npy");
        write_one(model, path, rank, dim, v, err);
        snprintf(path + n, cap - n, ".png");
        if (colours && !err->code)
            write_one(model, path, rank, dim, v, err);
        snprintf(path + n, cap - n, colours ? ".png" : ".npy");
    }
    rt_free(v);
    return err->code;
}
