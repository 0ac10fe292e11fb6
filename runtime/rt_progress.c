/* rt_progress.c: the redrawn line, plain lines and messages on standard error (rt_progress.h). */
#define _GNU_SOURCE
#include "rt_progress.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "rt_par.h"
#include "rt_text.h"

void rt_progress_start(rt_progress *p, int kind, int quiet) {
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    int tty = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    memset(p, 0, sizeof *p);
    p->out = stderr;
    p->kind = quiet ? RT_PROGRESS_NONE : kind;
    if (p->kind == RT_PROGRESS_AUTO && !tty)
        p->kind = RT_PROGRESS_PLAIN;
    p->color = tty && !(no_color && no_color[0]);
    struct winsize ws;
    p->width = ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col > 20 ? ws.ws_col : 80;
    p->begun = p->drawn = rt_seconds();
}

void rt_progress_clear(rt_progress *p) {
    if (!p->line_open)
        return;
    fputs("\r\033[K", p->out);
    fflush(p->out);
    p->line_open = 0;
}

int rt_progress_due(const rt_progress *p) {
    double wait = p->kind == RT_PROGRESS_AUTO ? 0.1 : p->kind == RT_PROGRESS_JSON ? 1.0 : 60.0;
    if (p->watch)
        return rt_seconds() - p->drawn >= 0.1;
    return p->kind != RT_PROGRESS_NONE && rt_seconds() - p->drawn >= wait;
}

static void draw_bar(FILE *out, int64_t done, int64_t total, int cells) {
    int full = total > 0 ? (int)(done * cells / total) : 0;
    for (int i = 0; i < cells; i++)
        fputs(i < full ? "━" : i == full ? "╸" : " ", out);
}

/* Seconds left at the speed since something else was counted, -1: not known yet. */
static double estimate(rt_progress *p, const char *head, int64_t done, int64_t total) {
    if (!p->head[0] || strncmp(p->head, head, sizeof p->head - 1) != 0 || done < p->last) {
        p->since = p->head[0] ? p->drawn : p->begun;
        p->from = p->head[0] ? done : 0;
        snprintf(p->head, sizeof p->head, "%s", head);
    }
    p->last = done;
    double speed = (double)(done - p->from) / (rt_seconds() - p->since + 1e-9);
    return speed > 0 && total >= done ? (double)(total - done) / speed : -1;
}

void rt_progress_tick(rt_progress *p, const char *head, int64_t done, int64_t total,
                      const char *tail, double eta) {
    char left[24];
    if (!rt_progress_due(p))
        return;
    if (eta < 0)
        eta = estimate(p, head, done, total);
    p->drawn = rt_seconds();
    if (p->watch) {
        p->watch(p->watcher, done, total);
    } else if (p->kind == RT_PROGRESS_AUTO) {
        char text[256];
        snprintf(text, sizeof text, " %lld/%lld  %s%s%s", (long long)done, (long long)total, tail,
                 eta >= 0 ? "  ETA " : "", eta >= 0 ? rt_text_time(eta, left) : "");
        int cells = p->width - 2 - (int)strlen(head) - (int)strlen(text);
        fprintf(p->out, "\r%s ", head);
        if (cells >= 4)
            draw_bar(p->out, done, total, cells > 24 ? 24 : cells);
        int room = p->width - 2 - (int)strlen(head) - (cells >= 4 ? (cells > 24 ? 24 : cells) : 0);
        fprintf(p->out, "%.*s\033[K", room > 0 ? room : 0, text);
        p->line_open = 1;
    } else if (p->kind == RT_PROGRESS_JSON) {
        rt_text t = {0};
        rt_text_add(&t, "{\"t\":\"progress\",\"what\":");
        rt_text_json(&t, head);
        rt_text_printf(&t, ",\"done\":%lld,\"total\":%lld,\"text\":", (long long)done,
                       (long long)total);
        rt_text_json(&t, tail);
        rt_text_add(&t, "}\n");
        if (t.data)
            fputs(t.data, p->out);
        rt_text_free(&t);
    } else {
        fprintf(p->out, "%s %lld/%lld  %s%s%s\n", head, (long long)done, (long long)total, tail,
                eta >= 0 ? "  ETA " : "", eta >= 0 ? rt_text_time(eta, left) : "");
    }
    fflush(p->out);
}

void rt_note(rt_progress *p, const char *format, ...) {
    if (p->kind == RT_PROGRESS_NONE || p->kind == RT_PROGRESS_JSON)
        return;
    rt_progress_clear(p);
    va_list args;
    va_start(args, format);
    vfprintf(p->out, format, args);
    va_end(args);
    fputc('\n', p->out);
    fflush(p->out);
    p->drawn = rt_seconds();
}

void rt_progress_json(rt_progress *p, const char *line) {
    if (p->kind != RT_PROGRESS_JSON)
        return;
    fputs(line, p->out);
    fflush(p->out);
}

/* Text of files and libraries must not reach a terminal raw. */
static void put_clean(FILE *out, const char *s) {
    for (; *s; s++)
        fputc(((unsigned char)*s < 32 && *s != '\n') || *s == 127 ? '?' : *s, out);
}

static void message(rt_progress *p, const char *kind, const char *color, const char *text) {
    rt_progress_clear(p);
    if (p->color)
        fprintf(p->out, "\033[1;%sm%s:\033[0m ", color, kind);
    else
        fprintf(p->out, "%s: ", kind);
    put_clean(p->out, text);
    fputc('\n', p->out);
    fflush(p->out);
}

void rt_warn(rt_progress *p, const char *format, ...) {
    char text[1400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    message(p, "warning", "35", text);
}

int rt_report(rt_progress *p, const rt_error *err) {
    if (err->code)
        message(p, "error", "31", err->text);
    return err->code;
}

const char *rt_text_time(double seconds, char buf[24]) {
    long s = seconds > 0 && seconds < 1e9 ? (long)(seconds + 0.5) : 0;
    if (s >= 3600)
        snprintf(buf, 24, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(buf, 24, "%ld:%02ld", s / 60, s % 60);
    return buf;
}

const char *rt_text_bytes_human(double bytes, char buf[24]) {
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB"};
    int u = 0;
    while (bytes >= 1000 && u < 4) {
        bytes /= 1000;
        u++;
    }
    snprintf(buf, 24, u == 0 || bytes >= 100 ? "%.0f %s" : "%.1f %s", bytes, unit[u]);
    return buf;
}

const char *rt_text_count(int64_t n, char buf[32]) {
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)n), out = 0;
    for (int i = 0; i < len && out < 30; i++) {
        if (i > 0 && digits[i - 1] != '-' && (len - i) % 3 == 0)
            buf[out++] = ',';
        buf[out++] = digits[i];
    }
    buf[out] = 0;
    return buf;
}
