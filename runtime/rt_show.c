/* rt_show.c: `NAME data show [URI] -o sheet.png`: samples as the network sees them: one row each,
 * first as in a test, then as in the first epochs of training, changed by `augment` and mirrored.
 *
 * ensures: what is shown is what rt_feed_load gives for the same seed, epoch and sample, brought
 * back to pixels; real numbers are drawn with their smallest value black, their largest white.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_canvas.h"
#include "rt_io.h"
#include "rt_show.h"

enum { GAP = 4, LABEL_W = 14, MAX_SHEET = 30000 };

typedef struct Sheet {
    rt_cli *cli;
    netrt *m;
    rt_feed feed;
    rt_image canvas, cell;
    struct rt_prep prep; /* the feed's, with the mean image */
    int64_t rows, times;
    int w, h, zoom; /* of a cell */
} Sheet;

/* Planes of real numbers below each other. */
static int real_cell(Sheet *s, const float *chw, rt_error *err) {
    int w = s->w, h = s->h;
    int64_t n = (int64_t)w * h;
    float lo = chw[0], hi = chw[0];
    if (rt_image_reserve(&s->cell, w, h, 1, err))
        return err->code;
    for (int64_t i = 0; i < n; i++) {
        lo = fminf(lo, chw[i]);
        hi = fmaxf(hi, chw[i]);
    }
    for (int64_t i = 0; i < n; i++)
        s->cell.data[i] = (unsigned char)(hi > lo ? ((double)chw[i] - (double)lo) /
                                                            ((double)hi - (double)lo) * 255.0 +
                                                        0.5
                                                  : 0.0);
    return NETRT_OK;
}

static int column(Sheet *s, int64_t k, const int64_t *want, rt_error *err) {
    int64_t size = rt_input_count(s->m->model, 0);
    int64_t good = rt_feed_load(&s->feed, want, s->rows, k - 1, rt_cli_skipped, s->cli);
    if (good < 0)
        return rt_fail(err, s->feed.failure.code, "%s", s->feed.failure.text);
    for (int64_t i = 0, row = 0; i < good && !err->code; i++) {
        const float *chw = s->feed.input[0] + i * size;
        while (row < s->rows && want[row] != s->feed.index[i])
            row++; /* a broken one leaves its row empty */
        if (rt_data_real(s->feed.ds) ? real_cell(s, chw, err)
                                     : rt_prep_invert(&s->prep, chw, &s->cell, err))
            break;
        int x = LABEL_W * RT_FONT_W + GAP + (int)k * (s->w * s->zoom + GAP);
        int y = RT_FONT_H + 2 * GAP + (int)row * (s->h * s->zoom + GAP);
        rt_canvas_blit(&s->canvas, x, y, &s->cell, s->zoom);
    }
    return err->code;
}

static void captions(Sheet *s, const int64_t *want) {
    char text[64], name[40];
    for (int64_t k = 0; k <= s->times; k++) {
        int x = LABEL_W * RT_FONT_W + GAP + (int)k * (s->w * s->zoom + GAP);
        snprintf(text, sizeof text, k ? "%lld" : "test", (long long)k);
        rt_canvas_text(&s->canvas, x, GAP, 1, 0x404040, text);
    }
    for (int64_t row = 0; row < s->rows; row++) {
        int label = rt_data_label(s->feed.ds, want[row]);
        int y = RT_FONT_H + 2 * GAP + (int)row * (s->h * s->zoom + GAP);
        snprintf(text, sizeof text, "%lld", (long long)want[row]);
        rt_canvas_text(&s->canvas, GAP, y, 1, 0x808080, text);
        if (label >= 0)
            rt_clean_name(name, sizeof name, rt_data_class_name(s->feed.ds, label));
        snprintf(text, sizeof text, "%.13s", label >= 0 ? name : "");
        rt_canvas_text(&s->canvas, GAP, y + RT_FONT_H, 1, 0x404040, text);
    }
}

static int draw(Sheet *s, const char *path, rt_error *err) {
    const rt_input_spec *in = &s->m->model->input[0];
    int64_t count = rt_data_count(s->feed.ds), want[64];
    s->rows = s->rows < count ? s->rows : count;
    for (int64_t i = 0; i < s->rows; i++)
        want[i] = i * (count / s->rows);
    if (rt_data_real(s->feed.ds)) {
        if (in->c * in->h > MAX_SHEET || in->w > MAX_SHEET)
            return rt_fail(err, NETRT_ELIMIT, "samples too large to draw");
        s->w = (int)in->w;
        s->h = (int)(in->c * in->h);
    } else {
        s->w = (int)in->w;
        s->h = (int)in->h;
    }
    int larger = s->w > s->h ? s->w : s->h;
    s->zoom = larger < 40 ? 3 : larger < 80 ? 2 : 1;
    int64_t width = LABEL_W * RT_FONT_W + GAP + (s->times + 1) * (s->w * s->zoom + GAP);
    int64_t height = RT_FONT_H + 2 * GAP + s->rows * (s->h * s->zoom + GAP);
    if (width > MAX_SHEET || height > MAX_SHEET)
        return rt_fail(err, NETRT_ELIMIT,
                       "a sheet of %lld x %lld pixels\nhelp: fewer --samples or --times",
                       (long long)width, (long long)height);
    if (rt_canvas_new(&s->canvas, (int)width, (int)height, 0xffffff, err) ||
        rt_feed_learn(&s->feed, rt_cli_skipped, s->cli, err))
        return err->code;
    s->prep = s->feed.prep[0];
    s->prep.mean_image = s->m->data_mean;
    captions(s, want);
    for (int64_t k = 0; k <= s->times && !err->code; k++)
        column(s, k, want, err);
    return err->code ? err->code : rt_png_write(&s->canvas, path, err);
}

int rt_data_show(rt_cli *cli, const char *path, int64_t samples, int64_t times) {
    rt_error err = {0};
    rt_dataset *ds = NULL;
    Sheet s = {.cli = cli, .rows = samples, .times = times};
    cli->batch = samples;
    if (!rt_cli_open(cli, 0, &s.m, &err) && !rt_cli_data(cli, 0, 0, &ds, &err)) {
        cli->ds = ds;
        if (!rt_feed_open(&s.feed, s.m, ds, samples, 0, 0, &err)) {
            draw(&s, path, &err);
            rt_feed_close(&s.feed);
        }
    }
    if (!err.code)
        rt_note(&cli->progress, "%s: %lld samples, %lld times each", path, (long long)s.rows,
                (long long)s.times);
    rt_report(&cli->progress, &err);
    rt_image_free(&s.canvas);
    rt_image_free(&s.cell);
    rt_data_close(ds);
    netrt_close(s.m);
    return err.code ? err.code : cli->skipped ? NETRT_EPARTIAL : NETRT_OK;
}
