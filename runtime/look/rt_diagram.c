/* rt_diagram.c: boxes and arrows (rt_diagram.h): cards of rt_cards.h where rt_lanes.h puts them, the
 * strip of columns cut into lines where the fewest results cross.
 *
 * In a card a bar tells by its height the extent on the image and by its width the maps, both by
 * their logarithm; beside it name, operations and shape.
 */
#include "rt_diagram.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_cards.h"
#include "rt_progress.h"
#include "rt_viz.h"

enum { LONG = 48, MOST = 1500, NAME_CHARS = 17, OP_CHARS = 19, OP_LINES = 2, WORD = 64 };
/* Pixels: between columns, at the ends of lines; in a card the widest bar, where text begins, lines
 * of text, the border. */
#define GAP 28
#define LEAD 24
#define BAR_W 18
#define TEXT_X 28
#define LINE 12
#define PAD 6

typedef struct Drawing {
    rt_text *o;
    const rt_model *m;
    rt_cards c;
    rt_lanes l;
    int width, pitch, per_line, op_lines, lines;
    int *line;           /* of each column */
    int *start;          /* per line: its first column */
    double *base;        /* per line: the height of the trunk */
    double height;
    int64_t most[2];     /* extent, maps */
} Drawing;

/* ---- words ---- */

typedef struct Words {
    char name[WORD], op[OP_LINES][WORD], shape[WORD], kind[8];
    int64_t dim[3];
    int rank;
} Words;

static const char *kind_of(const char *op) {
    static const char *const full[] = {"dense", "vdense", "rbf", "lstm", "gru"};
    static const char *const sum[] = {"concat", "add", "sub", "mul", "max", "mean"};
    if (strstr(op, "conv"))
        return "conv";
    if (strstr(op, "pool"))
        return "pool";
    for (size_t i = 0; i < sizeof full / sizeof *full; i++)
        if (strcmp(op, full[i]) == 0)
            return "full";
    for (size_t i = 0; i < sizeof sum / sizeof *sum; i++)
        if (strcmp(op, sum[i]) == 0)
            return "join";
    return "other";
}

/* The end of a long name, which tells more than its beginning. */
static void short_name(char out[WORD], const char *name, int room) {
    int n = (int)strlen(name);
    const char *from = n > room ? name + n - (room - 2) : name;
    while (((unsigned char)*from & 0xc0) == 0x80 || (from > name && *from == '.'))
        from++; /* not within a character */
    snprintf(out, WORD, "%s%.50s", from > name ? ".." : "", from);
}

/* Breaks "conv 3x3 + bn + relu" at its signs; what has no room ends in "..". */
static void add_operation(Words *w, int *at, const char *part, size_t n) {
    char *line = w->op[*at];
    int used = (int)strlen(line), all = used + (int)n + (used ? 3 : 0);
    if (*at + 1 == OP_LINES && used + 2 <= OP_CHARS && all > OP_CHARS && !strstr(line, " ..")) {
        snprintf(line + used, WORD - (size_t)used, " ..");
        return;
    }
    if (used && all > OP_CHARS && *at + 1 < OP_LINES) {
        line = w->op[++*at];
        used = 0;
        snprintf(line, WORD, "+ %.*s", (int)(n < 40 ? n : 40), part);
    } else if (all <= OP_CHARS || !used) {
        snprintf(line + used, WORD - (size_t)used, "%s%.*s", used ? " + " : "",
                 (int)(n < 40 ? n : 40), part);
    }
}

static void shape_text(Words *w, int64_t frames) {
    if (w->rank < 3)
        snprintf(w->shape, sizeof w->shape, "%lld", (long long)w->dim[0]);
    else if (frames > 1)
        snprintf(w->shape, sizeof w->shape, "%lldx%lldx%lldx%lld", (long long)w->dim[0],
                 (long long)frames, (long long)(w->dim[1] / frames), (long long)w->dim[2]);
    else
        snprintf(w->shape, sizeof w->shape, "%lldx%lldx%lld", (long long)w->dim[0],
                 (long long)w->dim[1], (long long)w->dim[2]);
}

static Words words_of(const Drawing *d, const rt_card *card) {
    Words w = {.rank = 3};
    int at = 0;
    if (card->input >= 0) {
        const rt_input_spec *in = &d->m->input[card->input];
        short_name(w.name, in->name, NAME_CHARS);
        snprintf(w.op[0], WORD, "input");
        snprintf(w.kind, sizeof w.kind, "input");
        memcpy(w.dim, (int64_t[]){in->c, in->h, in->w}, sizeof w.dim);
        shape_text(&w, in->frames);
        return w;
    }
    const rt_layer *l = &d->m->layer[card->first];
    short_name(w.name, l->label && l->label[0] ? l->label : l->op, NAME_CHARS);
    snprintf(w.kind, sizeof w.kind, "%s", kind_of(l->op));
    memcpy(w.dim, l->out, sizeof w.dim);
    w.rank = l->out_rank;
    shape_text(&w, 1);
    for (int i = card->first; i >= 0; i = d->c.next[i]) {
        const char *s = d->m->layer[i].detail;
        s = s && s[0] ? s : d->m->layer[i].op;
        for (const char *end; *s; s = *end ? end + 3 : end) {
            end = strstr(s, " + ");
            end = end ? end : s + strlen(s);
            add_operation(&w, &at, s, (size_t)(end - s));
        }
    }
    return w;
}

/* ---- columns and lines ---- */

static void measure(Drawing *d) {
    double longest = 0;
    for (int i = 0; i < d->c.n; i++) {
        Words w = words_of(d, &d->c.card[i]);
        double n = 6.6 * (double)strlen(w.name);
        n = fmax(n, 5.6 * (double)strlen(w.shape));
        for (int k = 0; k < OP_LINES; k++)
            n = fmax(n, 5.6 * (double)strlen(w.op[k]));
        longest = fmax(longest, n);
        d->op_lines = w.op[1][0] ? 2 : d->op_lines;
        int64_t side = w.dim[1] > w.dim[2] ? w.dim[1] : w.dim[2];
        if (w.rank >= 3 && side > d->most[0])
            d->most[0] = side;
        if (w.dim[0] > d->most[1])
            d->most[1] = w.dim[0];
    }
    d->width = TEXT_X + (int)fmin(fmax(longest, 54), 116) + PAD;
    d->pitch = d->width + GAP;
    d->per_line = (RT_DIAGRAM_WIDTH - 2 * LEAD + GAP) / d->pitch;
    d->l.height = 2 * PAD + (2 + d->op_lines) * LINE;
}

/* What a cut between columns k and k + 1 costs: results that cross it, then links; folded blocks stay
 * whole. */
static void count_crossings(const Drawing *d, int64_t *cost, int *last) {
    enum { RESULT = 1 << 16, BLOCK = 3 * RESULT };
    const int *column = d->l.column;
    for (int v = 0; v < d->c.n; v++)
        last[v] = column[v];
    for (int i = 0; i < d->c.nlinks; i++) {
        const rt_link *k = &d->c.link[i];
        last[k->from] = column[k->to] > last[k->from] ? column[k->to] : last[k->from];
        for (int c = column[k->from]; c < column[k->to]; c++)
            cost[c]++;
    }
    for (int v = 0; v < d->c.n; v++)
        for (int k = column[v]; k < last[v]; k++)
            cost[k] += RESULT;
    for (int i = 0; i < d->c.ngroups; i++)
        for (int k = column[d->c.group[i].first]; k < column[d->c.group[i].last]; k++)
            cost[k] += BLOCK;
}

static int cut_lines(Drawing *d, rt_error *err) {
    int n = d->l.columns, at = 0;
    int64_t *cost = rt_alloc_zero((size_t)n, sizeof *cost, "drawing", err);
    int *last = rt_alloc((size_t)d->c.n, sizeof *last, "drawing", err);
    if (!err->code)
        count_crossings(d, cost, last);
    while (at < n && !err->code) {
        int end = at + d->per_line; /* behind the line's last column */
        for (int k = end - 1; end < n && k >= at + d->per_line / 2; k--)
            if (cost[k - 1] < cost[end - 1])
                end = k;
        d->start[d->lines] = at;
        for (; at < end && at < n; at++)
            d->line[at] = d->lines;
        d->lines++;
    }
    rt_free(cost);
    rt_free(last);
    return err->code;
}

static void reach(double *up, double *down, double y) {
    *up = fmax(*up, PAD - y);
    *down = fmax(*down, PAD + y);
}

/* Where each line's trunk is, so that what enters the line and frames have room. */
static void stack_lines(Drawing *d) {
    d->height = 0;
    for (int line = 0; line < d->lines; line++) {
        double up = 0, down = 0;
        int from = d->start[line], head = 8;
        int to = line + 1 < d->lines ? d->start[line + 1] : d->l.columns;
        for (int k = from; k < to; k++) {
            up = fmax(up, d->l.up[k]);
            down = fmax(down, d->l.down[k]);
        }
        for (int i = 0; i < d->c.nlinks; i++) {
            const rt_link *k = &d->c.link[i];
            int u = d->l.column[k->from], v = d->l.column[k->to];
            if (u < from && v >= from)
                reach(&up, &down, u == from - 1 ? d->l.y[k->from] : k->y);
        }
        for (int i = 0; i < d->c.ngroups; i++)
            if (d->l.column[d->c.group[i].last] >= from && d->l.column[d->c.group[i].first] < to)
                head = 26;
        d->base[line] = d->height + head + up;
        d->height += head + up + down + 14;
    }
}

static double left_of(const Drawing *d, int column) {
    return LEAD + (column - d->start[d->line[column]]) * d->pitch;
}

/* ---- drawing ---- */

static double tenth(double x) { return round(10 * x) / 10 + 0.0; }

static double length_for(int64_t x, int64_t most, double longest) {
    double share = most > 1 ? log(1 + (double)x) / log(1 + (double)most) : 1;
    return tenth(3 + (longest - 3) * share);
}

static void draw_link(const Drawing *d, const rt_link *k) {
    int u = d->l.column[k->from], v = d->l.column[k->to], line = d->line[u];
    double y = d->l.y[k->from], x = left_of(d, u) + d->width;
    rt_text_printf(d->o, "<path class=\"w\" d=\"M%g %g", tenth(x), tenth(d->base[line] + y));
    for (int c = u; c < v; c++) {
        double next = c + 1 == v ? d->l.y[k->to] : k->y, to = left_of(d, c + 1), from = to - GAP;
        if (d->line[c + 1] != line) {
            rt_text_printf(d->o, "H%g", tenth(left_of(d, c) + d->width + LEAD - 4));
            line = d->line[c + 1];
            from = to - LEAD + 4;
            rt_text_printf(d->o, "M%g %g", from, tenth(d->base[line] + y));
        }
        if (fabs(next - y) > 0.05) {
            double mid = (from + to) / 2, y0 = d->base[line] + y, y1 = d->base[line] + next;
            rt_text_printf(d->o, "H%gC%g %g %g %g %g %g", from, mid, tenth(y0), mid, tenth(y1), to,
                           tenth(y1));
        }
        y = next;
    }
    rt_text_printf(d->o, "H%g\"/>\n", left_of(d, v));
}

static void tip(const Drawing *d, double x, double y) {
    rt_text_printf(d->o, "<path class=\"t\" d=\"M%g %gl-6 -3.5v7z\"/>\n", tenth(x), tenth(y));
}

static void put_text(const Drawing *d, const char *kind, double x, double y, const char *text) {
    rt_text_printf(d->o, "<text%s x=\"%g\" y=\"%g\">", kind, tenth(x), tenth(y));
    rt_text_xml(d->o, text);
    rt_text_add(d->o, "</text>\n");
}

/* All that is known of the card's layers, shown where the mouse rests. */
static void put_title(const Drawing *d, const rt_card *card) {
    char count[32];
    rt_text_add(d->o, "<title>");
    if (card->input >= 0)
        rt_text_xml(d->o, d->m->input[card->input].name);
    for (int i = card->first; i >= 0; i = d->c.next[i]) {
        const rt_layer *l = &d->m->layer[i];
        rt_text_xml(d->o, l->label ? l->label : "");
        rt_text_add(d->o, ": ");
        rt_text_xml(d->o, l->detail && l->detail[0] ? l->detail : l->op);
        if (l->params)
            rt_text_printf(d->o, ", %s parameters", rt_text_count(l->params, count));
        if (l->rf > 0 && d->c.next[i] < 0)
            rt_text_printf(d->o, ", receptive field %lld, step %lld", (long long)l->rf,
                           (long long)l->jump);
        rt_text_add(d->o, d->c.next[i] >= 0 ? "\n" : "");
    }
    rt_text_add(d->o, "</title>");
}

static void draw_card(const Drawing *d, int i) {
    const rt_card *card = &d->c.card[i];
    Words w = words_of(d, card);
    double x = left_of(d, d->l.column[i]), h = d->l.height, room = h - 2 * PAD;
    double y = d->base[d->line[d->l.column[i]]] + d->l.y[i] - h / 2;
    int64_t side = w.dim[1] > w.dim[2] ? w.dim[1] : w.dim[2];
    double bar_h = w.rank >= 3 ? length_for(side, d->most[0], room) : length_for(w.dim[0], d->most[1], room);
    double bar_w = w.rank >= 3 ? length_for(w.dim[0], d->most[1], BAR_W) : 4;
    rt_text_add(d->o, "<g");
    for (int k = card->first; k >= 0; k = d->c.next[k]) {
        rt_text_add(d->o, k == card->first ? " data-layer=\"" : " ");
        rt_text_xml(d->o, d->m->layer[k].label ? d->m->layer[k].label : "");
    }
    rt_text_add(d->o, card->first >= 0 ? "\">" : ">");
    put_title(d, card);
    rt_text_printf(d->o, "<rect class=\"k\" x=\"%g\" y=\"%g\" width=\"%d\" height=\"%g\" rx=\"4\"/>"
                         "<rect class=\"%s\" x=\"%g\" y=\"%g\" width=\"%g\" height=\"%g\" rx=\"1\"/>\n",
                   tenth(x), tenth(y), d->width, h, w.kind, tenth(x + TEXT_X / 2.0 - bar_w / 2),
                   tenth(y + h / 2 - bar_h / 2), bar_w, bar_h);
    int lines = 3 + (w.op[1][0] != 0);
    double at = y + h / 2 - 6 * lines + 9;
    put_text(d, " class=\"n\"", x + TEXT_X, at, w.name);
    for (int k = 0; k < OP_LINES && w.op[k][0]; k++)
        put_text(d, "", x + TEXT_X, at += LINE, w.op[k]);
    put_text(d, "", x + TEXT_X, at += LINE, w.shape);
    rt_text_add(d->o, "</g>\n");
}

/* A frame around what comes several times, in each line that it reaches into. */
static void draw_group(const Drawing *d, const rt_card_group *g) {
    int first = d->l.column[g->first], last = d->l.column[g->last];
    char text[120], name[WORD];
    short_name(name, d->m->layer[g->until].label, 40);
    snprintf(text, sizeof text, "%d times, to %.50s", g->times, name);
    for (int from = first, to; from <= last; from = to + 1) {
        double up = 0, down = 0, x = left_of(d, from) - 8;
        for (to = from; to < last && d->line[to + 1] == d->line[from]; to++)
            ;
        for (int k = from; k <= to; k++) {
            up = fmax(up, d->l.up[k]);
            down = fmax(down, d->l.down[k]);
        }
        double top = d->base[d->line[from]] - up - 7;
        rt_text_printf(d->o, "<rect class=\"g\" x=\"%g\" y=\"%g\" width=\"%g\" height=\"%g\" "
                             "rx=\"6\"/>\n", tenth(x), tenth(top),
                       tenth(left_of(d, to) + d->width + 8 - x), tenth(up + down + 14));
        if (from == first)
            put_text(d, " class=\"r\"", x + 2, top - 4, text);
    }
}

static const char style[] =
    ".net text{font:10px system-ui,sans-serif;fill:#59616b;text-anchor:start}"
    ".net .n{font:600 11px system-ui,sans-serif;fill:#1c2024}"
    ".net .k{fill:#fff;stroke:#b9c0c8}.net .p{fill:#fff}"
    ".net .w{fill:none;stroke:#7a828c;stroke-width:1.2}.net .t{fill:#7a828c}"
    ".net .g{fill:none;stroke:#b35900;stroke-dasharray:4 3}.net .r{fill:#b35900}"
    ".net .conv{fill:#0072b2}.net .pool{fill:#56b4e9}.net .full{fill:#d55e00}"
    ".net .join{fill:#009e73}.net .other{fill:#999}.net .input{fill:#4d545c}"
    "@media screen and (prefers-color-scheme:dark){.net text{fill:#a0a8b2}.net .n{fill:#e4e7eb}"
    ".net .k{fill:#1d2125;stroke:#4a515a}.net .p{fill:#14171a}.net .w{stroke:#8a939e}"
    ".net .t{fill:#8a939e}.net .g{stroke:#e8944a}.net .r{fill:#e8944a}.net .conv{fill:#3d9bd4}"
    ".net .full{fill:#e8824a}.net .input{fill:#a0a8b2}}";

static void draw_legend(const Drawing *d, double y) {
    static const char *const row[][2] = {{"conv", "convolution"}, {"pool", "pool"},
                                         {"full", "all to all"}, {"join", "sum, concat"},
                                         {"other", "others"}};
    double x = LEAD;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        rt_text_printf(d->o, "<rect class=\"%s\" x=\"%g\" y=\"%g\" width=\"9\" height=\"9\"/>",
                       row[i][0], x, tenth(y - 8));
        put_text(d, "", x + 13, y, row[i][1]);
        x += 30 + 5.6 * (double)strlen(row[i][1]);
    }
    put_text(d, "", LEAD, y + 16, "bars: height is the extent on the image (of a vector its length), "
                                  "width the maps, by their logarithm");
}

static void draw(Drawing *d, int xmlns) {
    int across = 0;
    for (int k = 0; k < d->l.columns; k++) {
        int right = (int)left_of(d, k) + d->width + LEAD;
        across = right > across ? right : across;
    }
    across = across < 520 ? 520 : across; /* the legend */
    int height = (int)ceil(d->height) + 38;
    rt_text_printf(d->o, "<svg%s class=\"net\" role=\"img\" aria-label=\"the layers and their shapes\" "
                         "viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\"><style>%s</style>\n",
                   xmlns ? " xmlns=\"http://www.w3.org/2000/svg\"" : "", across, height, across,
                   height, style);
    if (xmlns)
        rt_text_printf(d->o, "<rect class=\"p\" width=\"%d\" height=\"%d\"/>\n", across, height);
    for (int i = 0; i < d->c.ngroups; i++)
        draw_group(d, &d->c.group[i]);
    for (int i = 0; i < d->c.nlinks; i++)
        draw_link(d, &d->c.link[i]);
    for (int i = 0; i < d->c.n; i++)
        draw_card(d, i);
    for (int i = 0; i < d->c.nlinks; i++) {
        const rt_link *k = &d->c.link[i];
        int v = d->l.column[k->to];
        if (i == 0 || k[-1].to != k->to)
            tip(d, left_of(d, v), d->base[d->line[v]] + d->l.y[k->to]);
    }
    draw_legend(d, d->height + 14);
    rt_text_add(d->o, "</svg>\n");
}

static int lay_out(Drawing *d, rt_error *err) {
    size_t n = (size_t)d->c.n;
    d->l = (rt_lanes){.n = d->c.n, .ninputs = d->m->ninputs, .nlinks = d->c.nlinks,
                      .link = d->c.link, .gap = 12};
    d->l.column = rt_alloc_zero(n, sizeof *d->l.column, "drawing", err);
    d->l.y = rt_alloc_zero(n, sizeof *d->l.y, "drawing", err);
    d->line = rt_alloc_zero(n, sizeof *d->line, "drawing", err);
    d->start = rt_alloc_zero(n, sizeof *d->start, "drawing", err);
    d->base = rt_alloc_zero(n, sizeof *d->base, "drawing", err);
    if (err->code)
        return err->code;
    measure(d);
    if (rt_lanes_place(&d->l, err) == 0 && cut_lines(d, err) == 0)
        stack_lines(d);
    return err->code;
}

int rt_diagram(rt_text *o, const rt_model *m, int xmlns, rt_error *err) {
    Drawing d = {.o = o, .m = m, .op_lines = 1, .most = {1, 1}};
    if (rt_cards_open(&d.c, m, LONG, err) == 0 && d.c.n > MOST)
        rt_fail(err, NETRT_EUSAGE, "a network of %d boxes is too large for a drawing\nhelp: `info` "
                "lists its layers", d.c.n);
    if (!err->code && d.c.n > 0 && lay_out(&d, err) == 0)
        draw(&d, xmlns);
    rt_lanes_free(&d.l);
    rt_free(d.l.column);
    rt_free(d.l.y);
    rt_free(d.line);
    rt_free(d.start);
    rt_free(d.base);
    rt_cards_close(&d.c);
    return err->code;
}

/* ---- the verb ---- */

static int run(rt_viz *v, const char **operands, int n, rt_error *err) {
    rt_text o = {0};
    char title[160];
    if (n)
        return rt_fail(err, NETRT_EUSAGE, "diagram takes no file, got '%s'\nhelp: --out=DIR",
                       operands[0]);
    snprintf(title, sizeof title, "the layers of %.100s", v->cli.model->name);
    if (rt_diagram(&o, v->cli.model, 1, err) == 0 && rt_viz_folder(v, err) == 0)
        rt_viz_write_svg(v, &o, "diagram", title, "", err);
    rt_text_free(&o);
    return err->code;
}

const rt_technique rt_technique_diagram = {
    {"diagram", "the layers and what they read, drawn (needs no weights)", "[OPTIONS]",
     "diagram\ndiagram --out=pictures"},
    run, NULL, 0};
