/* diag_render.c: diagnostics as text for people and as JSON for tools.
 *
 * requires: a DiagCtx.  ensures: output is valid UTF-8 without control characters from the spec, so
 * a hostile file cannot drive the terminal; a source line never makes more than MAX_CELLS cells.
 * Text columns count display cells (tabs to 8), JSON columns count bytes.
 */
#include "base/diag.h"

#include <string.h>

#include "base/limits.h"

enum { TAB = 8, MAX_CELLS = 100, LEFT_CONTEXT = 40 };

const Sources *diag_sources_(const DiagCtx *ctx); /* private to diag*.c */

typedef struct Painter {
    StrBuf *out;
    const Sources *sources;
    bool color;
} Painter;

static const char BOLD[] = "\033[1m", RED[] = "\033[1;31m", MAGENTA[] = "\033[1;35m",
                  CYAN[] = "\033[1;36m", GREEN[] = "\033[1;32m", PLAIN[] = "\033[0m";

static void paint(Painter *p, const char *code) {
    if (p->color)
        sb_puts(p->out, code);
}

/* Message text may quote the spec: control characters and broken UTF-8 become U+FFFD. */
static void put_clean(StrBuf *out, const char *text) {
    size_t left = strlen(text);

    while (left > 0) {
        int count = utf8_length(text, left);
        unsigned char c = (unsigned char)*text;
        if (count == 0 || (c < 0x20 && c != '\n') || c == 0x7f)
            sb_puts(out, "\xef\xbf\xbd");
        else
            sb_write(out, text, (size_t)count);
        count = count ? count : 1;
        text += count;
        left -= (size_t)count;
    }
}

/* One source line cut into display cells: where each byte starts, and the bytes to show. */
typedef struct CellWalk {
    const char *text;
    int length, at, cell;
} CellWalk;

/* Advances one character; returns its width in cells and sets *bytes. */
static int cell_step(CellWalk *walk, int *bytes) {
    int count = utf8_length(walk->text + walk->at, (size_t)(walk->length - walk->at));
    int width = 1;

    if (walk->text[walk->at] == '\t')
        width = TAB - walk->cell % TAB;
    else if (walk->at == 0 && count == 3 && memcmp(walk->text, "\xef\xbb\xbf", 3) == 0)
        width = 0; /* byte order mark */
    *bytes = count ? count : 1;
    walk->at += *bytes;
    walk->cell += width;
    return width;
}

/* Cells in front of byte offset `offset` of the line; offsets past the end count one cell each. */
static int cells_before(const char *text, int length, int offset) {
    CellWalk walk = {text, length, 0, 0};
    int bytes;

    while (walk.at < offset && walk.at < length)
        cell_step(&walk, &bytes);
    return walk.cell + (offset > length ? offset - length : 0);
}

/* The part of the line between cells [from, to), tabs as spaces, unprintable bytes as U+FFFD. */
static void put_cells(StrBuf *out, const char *text, int length, int from, int to) {
    CellWalk walk = {text, length, 0, 0};

    while (walk.at < length && walk.cell < to) {
        int start = walk.at, cell = walk.cell, bytes;
        int width = cell_step(&walk, &bytes);
        unsigned char c = (unsigned char)text[start];
        if (width == 0)
            continue;
        if (c == '\t') {
            int first = cell > from ? cell : from, last = walk.cell < to ? walk.cell : to;
            sb_repeat(out, ' ', last - first);
        } else if (cell < from) {
            continue;
        } else if (c < 0x20 || c == 0x7f || utf8_length(text + start, (size_t)bytes) == 0) {
            sb_puts(out, "\xef\xbf\xbd");
        } else {
            sb_write(out, text + start, (size_t)bytes);
        }
    }
}

/* "13 |   fc7: dense(...)" and the caret line below it. */
static void put_snippet(Painter *p, LocRange range, const char *label, const char *color) {
    SourcePos pos = source_pos(p->sources, range.begin);
    int length;
    const char *line = source_line(pos.file, pos.line, &length);
    int first = cells_before(line, length, pos.column - 1);
    int64_t last_byte = pos.column - 1 + (int64_t)(range.end - range.begin);
    int last = cells_before(line, length, last_byte < length ? (int)last_byte : length);
    int total = cells_before(line, length, length);
    int from = 0, to = total;
    char number[16];

    if (total > MAX_CELLS) { /* a window around the caret */
        from = first > LEFT_CONTEXT ? first - LEFT_CONTEXT : 0;
        to = from + MAX_CELLS < total ? from + MAX_CELLS : total;
    }
    int gutter = snprintf(number, sizeof number, "%d", pos.line);
    sb_printf(p->out, "%s | %s", number, from > 0 ? "..." : "");
    put_cells(p->out, line, length, from, to);
    sb_puts(p->out, to < total ? "...\n" : "\n");
    sb_repeat(p->out, ' ', gutter);
    sb_puts(p->out, " | ");
    sb_repeat(p->out, ' ', first - from + (from > 0 ? 3 : 0));
    paint(p, color);
    sb_putc(p->out, '^');
    sb_repeat(p->out, '~', (last < to ? last : to) - first - 1);
    if (label) {
        sb_putc(p->out, ' ');
        put_clean(p->out, label);
    }
    paint(p, PLAIN);
    sb_putc(p->out, '\n');
}

/* "file:line:col: " with the column in display cells. */
static void put_place(Painter *p, LocRange range, const char *path) {
    SourcePos pos = source_pos(p->sources, range.begin);

    paint(p, BOLD);
    if (path) {
        put_clean(p->out, path);
        sb_puts(p->out, ": ");
    } else if (pos.file) {
        int length;
        const char *line = source_line(pos.file, pos.line, &length);
        put_clean(p->out, pos.file->path);
        sb_printf(p->out, ":%d:%d: ", pos.line, cells_before(line, length, pos.column - 1) + 1);
    } else {
        sb_puts(p->out, "netc: ");
    }
    paint(p, PLAIN);
}

static int gutter_width(const Painter *p, LocRange range) {
    int width = 1;

    for (int line = source_pos(p->sources, range.begin).line; line >= 10; line /= 10)
        width++;
    return width;
}

static void put_plain_note(Painter *p, int gutter, const char *kind, const char *color,
                           const char *text) {
    sb_repeat(p->out, ' ', gutter);
    sb_puts(p->out, " = ");
    paint(p, color);
    sb_printf(p->out, "%s: ", kind);
    paint(p, PLAIN);
    put_clean(p->out, text);
    sb_putc(p->out, '\n');
}

/* A range that crosses lines is named by its first line only. */
static void put_fixit(Painter *p, int gutter, const DiagFixit *fixit) {
    SourcePos pos = source_pos(p->sources, fixit->range.begin);
    int length = (int)(fixit->range.end - fixit->range.begin);

    if (!pos.file)
        return;
    sb_repeat(p->out, ' ', gutter);
    sb_puts(p->out, " = ");
    paint(p, GREEN);
    sb_puts(p->out, "fix: ");
    paint(p, PLAIN);
    put_clean(p->out, pos.file->path);
    sb_printf(p->out, ":%d:%d \"", pos.line, pos.column);
    char *old = arena_strndup(p->out->arena, pos.file->text + (fixit->range.begin - pos.file->base),
                              (size_t)(length < MAX_CELLS ? length : MAX_CELLS));
    put_clean(p->out, old);
    sb_puts(p->out, "\" -> \"");
    put_clean(p->out, fixit->replacement);
    sb_puts(p->out, "\"\n");
}

static void put_include_trace(Painter *p, const SourceFile *file) {
    for (int depth = 0; file && file->included_at.begin && depth < LIMIT_INCLUDE_DEPTH; depth++) {
        SourcePos pos = source_pos(p->sources, file->included_at.begin);
        sb_puts(p->out, depth == 0 ? "in file included from " : "                 from ");
        put_clean(p->out, pos.file->path);
        sb_printf(p->out, ":%d:\n", pos.line);
        file = pos.file;
    }
}

static void put_text(Painter *p, const Diag *diag) {
    bool is_error = diag->severity == SEVERITY_ERROR;
    const char *color = is_error ? RED : MAGENTA;
    int gutter = gutter_width(p, diag->range);
    const SourceFile *file = source_of(p->sources, diag->range.begin);

    if (file)
        put_include_trace(p, file);
    put_place(p, diag->range, diag->path);
    paint(p, color);
    sb_printf(p->out, "%s[%s]: ", is_error ? "error" : "warning", diag->code);
    paint(p, PLAIN);
    paint(p, BOLD);
    put_clean(p->out, diag->message);
    paint(p, PLAIN);
    sb_putc(p->out, '\n');
    if (file)
        put_snippet(p, diag->range, diag->label, color);
    for (int i = 0; i < diag->note_count; i++) {
        const DiagNote *note = &diag->notes[i];
        if (!source_of(p->sources, note->range.begin)) {
            put_plain_note(p, gutter, note->is_help ? "help" : "note", CYAN, note->text);
            continue;
        }
        put_place(p, note->range, NULL);
        paint(p, CYAN);
        sb_puts(p->out, "note: ");
        paint(p, PLAIN);
        put_clean(p->out, note->text);
        sb_putc(p->out, '\n');
        put_snippet(p, note->range, NULL, CYAN);
    }
    for (int i = 0; i < diag->fixit_count; i++)
        put_fixit(p, gutter, &diag->fixits[i]);
}

/* "file":..,"line":..,"col":..,"endcol":.. ; endcol is one past the last byte, on the first line. */
static void json_place(StrBuf *out, const Sources *sources, LocRange range, const char *path) {
    SourcePos pos = source_pos(sources, range.begin);
    int length = 0;

    sb_puts(out, "\"file\":");
    if (path || pos.file)
        sb_json(out, path ? path : pos.file->path);
    else
        sb_puts(out, "null");
    if (!pos.file || path) {
        sb_puts(out, ",\"line\":0,\"col\":0,\"endcol\":0");
        return;
    }
    source_line(pos.file, pos.line, &length);
    int64_t end = pos.column + (int64_t)(range.end - range.begin);
    if (end > length + 1)
        end = length + 1 > pos.column ? length + 1 : pos.column;
    sb_printf(out, ",\"line\":%d,\"col\":%d,\"endcol\":%d", pos.line, pos.column, (int)end);
}

static void put_json(StrBuf *out, const Sources *sources, const Diag *diag) {
    sb_puts(out, "{\"code\":");
    sb_json(out, diag->code);
    sb_printf(out, ",\"severity\":\"%s\",",
              diag->severity == SEVERITY_ERROR ? "error" : "warning");
    json_place(out, sources, diag->range, diag->path);
    sb_puts(out, ",\"message\":");
    sb_json(out, diag->message);
    if (diag->label) {
        sb_puts(out, ",\"label\":");
        sb_json(out, diag->label);
    }
    sb_puts(out, ",\"notes\":[");
    for (int i = 0; i < diag->note_count; i++) {
        sb_printf(out, "%s{\"kind\":\"%s\",", i ? "," : "",
                  diag->notes[i].is_help ? "help" : "note");
        json_place(out, sources, diag->notes[i].range, NULL);
        sb_puts(out, ",\"message\":");
        sb_json(out, diag->notes[i].text);
        sb_putc(out, '}');
    }
    sb_puts(out, "],\"fixits\":[");
    for (int i = 0; i < diag->fixit_count; i++) {
        sb_puts(out, i ? ",{" : "{");
        json_place(out, sources, diag->fixits[i].range, NULL);
        sb_puts(out, ",\"replacement\":");
        sb_json(out, diag->fixits[i].replacement);
        sb_putc(out, '}');
    }
    sb_puts(out, "]}");
}

/* "2 errors, 1 warning" */
static void put_totals(StrBuf *out, int errors, int warnings) {
    if (errors)
        sb_printf(out, "%d error%s%s", errors, errors == 1 ? "" : "s", warnings ? ", " : "");
    if (warnings)
        sb_printf(out, "%d warning%s", warnings, warnings == 1 ? "" : "s");
    sb_putc(out, '\n');
}

void diag_render_to(DiagCtx *ctx, StrBuf *out, DiagFormat format, bool color) {
    Painter painter = {out, diag_sources_(ctx), color};
    int count, errors = 0, warnings = 0, shown = 0;
    Diag *const *all = diag_sorted(ctx, &count);

    if (format == DIAG_JSON)
        sb_puts(out, "[");
    for (int i = 0; i < count; i++) {
        bool is_error = all[i]->severity == SEVERITY_ERROR;
        int *counter = is_error ? &errors : &warnings;
        if (++*counter > LIMIT_DIAGNOSTICS)
            continue;
        if (format == DIAG_JSON) {
            sb_puts(out, shown ? ",\n" : "\n");
            put_json(out, painter.sources, all[i]);
        } else {
            put_text(&painter, all[i]);
        }
        shown++;
    }
    if (format == DIAG_JSON) {
        sb_puts(out, shown ? "\n]\n" : "]\n");
        return;
    }
    if (errors > LIMIT_DIAGNOSTICS)
        sb_printf(out, "only the first %d errors are shown\n", LIMIT_DIAGNOSTICS);
    if (count)
        put_totals(out, errors, warnings);
}

void diag_render(DiagCtx *ctx, FILE *out, DiagFormat format, bool color) {
    Arena *arena = arena_new();
    StrBuf text = sb_new(arena);

    diag_render_to(ctx, &text, format, color);
    fwrite(text.text, 1, text.length, out);
    arena_free(arena);
}
