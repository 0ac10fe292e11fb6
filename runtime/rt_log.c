/* rt_log.c: log.csv, log.jsonl and the loss curve (rt_log.h).  A full disk must not stop a training
 * run: the first failed write is remembered, the run goes on without a log.
 */
#include "rt_log.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_svg.h"

static void put(rt_log *log, int which, const char *data, size_t n) {
    while (n > 0 && !log->failed) {
        ssize_t w = rt_io.write(log->fd[which], data, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0) {
            log->failed = 1;
            log->err_no = w < 0 ? errno : ENOSPC;
            return;
        }
        data += w;
        n -= (size_t)w;
        log->size[which] += w;
    }
}

/* Cuts path to `keep` bytes by writing the kept part anew. */
static int cut_back(const char *path, int64_t keep, rt_error *err) {
    unsigned char *data = NULL;
    size_t size = 0;
    if (rt_io_read_file(path, RT_IO_MAX_FILE, &data, &size, err))
        return err->code;
    if ((int64_t)size < keep)
        rt_fail(err, NETRT_EDATA, "%s is shorter than the checkpoint says (%lld bytes)", path,
                (long long)keep);
    else if ((int64_t)size > keep)
        rt_io_write_file(path, data, (size_t)keep, err);
    rt_free(data);
    return err->code;
}

static void put_columns(rt_log *log, const rt_figure *figure, int nfigures) {
    rt_text t = {0};
    rt_text_add(&t, RT_LOG_COLUMNS);
    for (int i = 0; i < nfigures; i++)
        rt_text_printf(&t, ",%s", figure[i].name);
    rt_text_add(&t, "\n");
    if (!t.failed)
        put(log, 0, t.data, t.size);
    rt_text_free(&t);
}

int rt_log_open(rt_log *log, const char *dir, const int64_t keep[2], const rt_figure *figure,
                int nfigures, rt_error *err) {
    static const char *const name[2] = {"log.csv", "log.jsonl"};
    memset(log, 0, sizeof *log);
    log->fd[0] = log->fd[1] = -1;
    char **path[2] = {&log->csv, &log->jsonl};
    for (int i = 0; i < 2; i++) {
        size_t n = strlen(dir) + 16;
        *path[i] = rt_alloc(n, 1, "path", err);
        if (!*path[i])
            break;
        snprintf(*path[i], n, "%s/%s", dir, name[i]);
        if (keep && cut_back(*path[i], keep[i], err))
            break;
        int flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_APPEND | (keep ? 0 : O_TRUNC);
        log->fd[i] = rt_io.open(*path[i], flags, 0666);
        if (log->fd[i] < 0) {
            rt_fail(err, NETRT_EIO, "%s: %s", *path[i], strerror(errno));
            break;
        }
        log->size[i] = keep ? keep[i] : 0;
    }
    if (err->code)
        rt_log_close(log);
    else if (!keep)
        put_columns(log, figure, nfigures);
    return err->code;
}

void rt_log_head(rt_log *log, const char *json) {
    put(log, 1, json, strlen(json));
}

static void cell(rt_text *t, double v) {
    if (isfinite(v))
        rt_text_number(t, v);
    rt_text_add(t, ",");
}

void rt_row_json(rt_text *t, const rt_row *r) {
    rt_text_printf(t,
                   "{\"t\":\"%s\",\"step\":%lld,\"epoch\":%lld,\"images\":%lld,\"loss\":", r->event,
                   (long long)r->step, (long long)r->epoch, (long long)r->images);
    rt_text_number(t, r->loss);
    rt_text_add(t, ",\"error\":");
    rt_text_number(t, r->error);
    if (isfinite(r->top5)) {
        rt_text_add(t, ",\"top5\":");
        rt_text_number(t, r->top5);
    }
    rt_text_add(t, ",\"lr\":");
    rt_text_number(t, r->lr);
    for (int i = 0; r->value && i < r->nfigures; i++)
        if (isfinite(r->value[i])) {
            rt_text_add(t, ",");
            rt_text_json(t, r->figure[i].name);
            rt_text_add(t, ":");
            rt_text_number(t, r->value[i]);
        }
    rt_text_printf(t, ",\"images_per_s\":%.1f,\"seconds\":%.3f}\n", r->images_per_s, r->seconds);
}

void rt_log_row(rt_log *log, const rt_row *r) {
    rt_text t = {0};
    rt_text_printf(&t, "%s,%lld,%lld,%lld,", r->event, (long long)r->step, (long long)r->epoch,
                   (long long)r->images);
    cell(&t, r->loss);
    cell(&t, r->error);
    cell(&t, r->top5);
    cell(&t, r->lr);
    rt_text_printf(&t, "%.1f,%.3f", r->images_per_s, r->seconds);
    for (int i = 0; i < r->nfigures; i++) {
        rt_text_add(&t, ",");
        if (r->value && isfinite(r->value[i]))
            rt_text_number(&t, r->value[i]);
    }
    rt_text_add(&t, "\n");
    if (!t.failed)
        put(log, 0, t.data, t.size);
    rt_text_free(&t);
    rt_row_json(&t, r);
    if (!t.failed)
        put(log, 1, t.data, t.size);
    rt_text_free(&t);
}

void rt_log_close(rt_log *log) {
    for (int i = 0; i < 2; i++)
        if (log->fd[i] >= 0)
            rt_io.close(log->fd[i]);
    rt_free(log->csv);
    rt_free(log->jsonl);
    memset(log, 0, sizeof *log);
    log->fd[0] = log->fd[1] = -1;
}

/* ---- the curve ---- */

enum { CURVES = 4 }; /* train loss, test loss, train error, test error */

static double number_at(const char *line, int column) {
    for (; column > 0 && line; column--) {
        line = strchr(line, ',');
        line = line ? line + 1 : NULL;
    }
    char *end;
    double v = line ? strtod(line, &end) : NAN;
    return line && end != line ? v : NAN;
}

int rt_log_plot(const char *csv, const char *svg, const char *title, rt_error *err) {
    static const char *const name[CURVES] = {"training loss", "test loss", "training error %",
                                             "test error %"};
    unsigned char *data = NULL;
    size_t size = 0, rows = 0;
    if (rt_io_read_file(csv, RT_IO_MAX_FILE, &data, &size, err))
        return err->code;
    for (size_t i = 0; i < size; i++)
        rows += data[i] == '\n';
    double *block = rt_alloc(2 * CURVES * (rows + 1), sizeof *block, "curve", err);
    rt_series series[CURVES];
    memset(series, 0, sizeof series);
    int64_t count[CURVES] = {0};
    for (char *p = (char *)data; block && p && *p;) {
        char *end = strchr(p, '\n');
        int test = strncmp(p, "test,", 5) == 0;
        if (end && (test || strncmp(p, "train,", 6) == 0))
            for (int k = 0; k < 2; k++) { /* loss is column 4, error column 5 */
                int c = 2 * k + test;
                double y = number_at(p, 4 + k), *x = block + 2 * (size_t)c * (rows + 1);
                if (!isfinite(y))
                    continue;
                x[count[c]] = number_at(p, 1);
                x[rows + 1 + (size_t)count[c]++] = k ? y * 100 : y;
            }
        p = end ? end + 1 : NULL;
    }
    rt_text out = {0};
    int used = 0;
    for (int c = 0; block && c < CURVES; c++)
        if (count[c] > 0) {
            const double *x = block + 2 * (size_t)c * (rows + 1);
            series[used++] = (rt_series){.name = name[c],
                                         .x = x,
                                         .y = x + rows + 1,
                                         .n = count[c],
                                         .right = c >= 2,
                                         .points = c & 1};
        }
    rt_plot plot = {.title = title,
                    .xlabel = "step",
                    .ylabel = "loss",
                    .rlabel = "error %",
                    .series = series,
                    .nseries = used};
    rt_svg_plot(&out, &plot, 1);
    if (!err->code && rt_text_ok(&out, err))
        rt_io_write_file(svg, out.data, out.size, err);
    rt_text_free(&out);
    rt_free(block);
    rt_free(data);
    return err->code;
}
