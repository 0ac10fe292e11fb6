/* rt_diagram.c: boxes and arrows (rt_diagram.h).
 *
 * A layer is a box whose height tells its extent on the image and whose width its maps, both by
 * their logarithm; beside it its name, what it does and its shape.  Lines of the drawing are filled
 * from left to right as a text is.
 */
#include "rt_diagram.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { PAGE_W = 1080, CELL_W = 120, LINE_H = 150, MID = 58, TALLEST = 92, WIDEST = 84, MOST = 600 };

static const char *kind_of(const char *op) {
    static const char *const full[] = {"dense", "rbf", "lstm"};
    if (strstr(op, "conv"))
        return "conv";
    if (strstr(op, "pool"))
        return "pool";
    for (size_t i = 0; i < sizeof full / sizeof *full; i++)
        if (strcmp(op, full[i]) == 0)
            return "full";
    return "other";
}

/* Pixels for an extent of `x` out of at most `most`. */
static double length_for(int64_t x, int64_t most, double longest) {
    double share = most > 1 ? log(1 + (double)x) / log(1 + (double)most) : 1;
    return 8 + (longest - 8) * share;
}

static void text_at(rt_text *o, double x, double y, const char *kind, const char *text, int room) {
    char cut[64];
    int n = (int)strlen(text);
    snprintf(cut, sizeof cut, "%.*s%s", n > room ? room - 2 : n, text, n > room ? ".." : "");
    rt_text_printf(o, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">", kind, x, y);
    rt_text_xml(o, cut);
    rt_text_add(o, "</text>\n");
}

static void shape_text(char *s, size_t n, const int64_t *dim, int rank) {
    if (rank >= 3)
        snprintf(s, n, "%lldx%lldx%lld", (long long)dim[0], (long long)dim[1], (long long)dim[2]);
    else
        snprintf(s, n, "%lld", (long long)dim[0]);
}

typedef struct Box {
    const char *name, *what, *kind;
    int64_t dim[3];
    int rank;
} Box;

static void draw_box(rt_text *o, const Box *b, int at, int last, const int64_t most[2]) {
    int columns = PAGE_W / CELL_W;
    double cx = at % columns * CELL_W + CELL_W / 2, cy = at / columns * LINE_H + MID;
    int64_t side = b->rank >= 3 ? (b->dim[1] > b->dim[2] ? b->dim[1] : b->dim[2]) : 1;
    double h = b->rank >= 3 ? length_for(side, most[0], TALLEST) : length_for(b->dim[0], most[1], TALLEST);
    double w = b->rank >= 3 ? length_for(b->dim[0], most[1], WIDEST) : 10;
    char shape[64];
    shape_text(shape, sizeof shape, b->dim, b->rank);
    if (at % columns)
        rt_text_printf(o, "<path class=\"line\" d=\"M%.1f %.1fH%.1f\"/>\n", cx - CELL_W / 2 - 8.0, cy,
                       cx - w / 2);
    if (!last)
        rt_text_printf(o, "<path class=\"line\" d=\"M%.1f %.1fH%.1f\"/>\n", cx + w / 2, cy,
                       cx + CELL_W / 2 - 8.0);
    rt_text_printf(o, "<rect class=\"box %s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
                      "rx=\"3\"><title>", b->kind, cx - w / 2, cy - h / 2, w, h);
    rt_text_xml(o, b->name);
    rt_text_add(o, ": ");
    rt_text_xml(o, b->what);
    rt_text_add(o, "</title></rect>\n");
    double below = cy + TALLEST / 2 + 15;
    text_at(o, cx, below, "name", b->name, 17);
    text_at(o, cx, below + 13, "small", b->what, 20);
    text_at(o, cx, below + 26, "small", shape, 20);
}

void rt_diagram(rt_text *o, const rt_model *m) {
    int n = m->nlayers < MOST ? m->nlayers : MOST, columns = PAGE_W / CELL_W;
    int64_t most[2] = {1, 1};
    if (n < 1 || m->ninputs < 1)
        return;
    const rt_input_spec *in = &m->input[0];
    Box first = {in->name, "input", "other", {in->c, in->h, in->w}, 3};
    most[0] = in->h > in->w ? in->h : in->w;
    for (int i = 0; i < n; i++)
        most[1] = m->layer[i].out[0] > most[1] ? m->layer[i].out[0] : most[1];
    int lines = (n + 1 + columns - 1) / columns;
    int across = n + 1 < columns ? (n + 1) * CELL_W : PAGE_W;
    rt_text_printf(o, "<svg class=\"net\" role=\"img\" aria-label=\"the layers and their shapes\" "
                      "viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\">\n", across, lines * LINE_H,
                   across, lines * LINE_H);
    draw_box(o, &first, 0, 0, most);
    for (int i = 0; i < n; i++) {
        const rt_layer *l = &m->layer[i];
        Box b = {l->label && l->label[0] ? l->label : l->op,
                 l->detail && l->detail[0] ? l->detail : l->op, kind_of(l->op),
                 {l->out[0], l->out[1], l->out[2]}, l->out_rank};
        draw_box(o, &b, i + 1, i + 1 == n, most);
    }
    rt_text_add(o, "</svg>\n");
    if (m->nlayers > n)
        rt_text_printf(o, "<p>The first %d of %d layers.</p>\n", n, m->nlayers);
}
