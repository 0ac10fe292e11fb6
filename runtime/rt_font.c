/* rt_font.c: letters as strokes, drawn at any size with soft edges.
 *
 * A letter is a list of strokes on a grid 10 wide: capitals stand on y = 16 and reach up to 0,
 * small letters to 6, tails hang to 22.  A stroke is one letter for its kind and pairs of digits to
 * base 36, x and y:  L straight lines;  C a curve, a quadratic B-spline from the first point to the last
 * that the points between pull along;  O the same, closed.  A pixel is covered as far as it lies
 * within half a pen of the nearest stroke.  Every letter is equally wide, so that columns align.
 *
 * theory: de Boor, A Practical Guide to Splines, 1978: two corners cut per corner (Chaikin) tend to
 * the quadratic B-spline; here its arcs, which begin and end in the middles of the sides.
 */
#include "rt_canvas.h"

#include <math.h>
#include <string.h>

/* From space to tilde. */
static const char *const strokes[95] = {
    "", "L505b L5f5g", "L3034 L7074", "L412f L816f L05a5 L0bab", "C93900008a8ag0g0d L5052 L5g5i",
    "O00404606 O6aaaag6g L911f", "Cag151070750a0g7gaa", "L5054", "C80404j8j", "C20606j2j",
    "L535b L2589 L8529", "L535d L08a8", "L5f4j", "L1898", "L5f5g", "L901g", "O10909g1g",
    "L24505g L2g8g", "C0400a0a60g L0gag", "C0300909747 C47a7ag0g0d", "L8g800bab",
    "L901008 C0836a5ag0g0d", "C9390000gaga6060b", "L00a04g", "O10909717 O07a7ag0g",
    "C1d1gaga0000aaaa5", "L5758 L5f5g", "L5758 L5f4j", "L93189d", "L06a6 L0bab", "L13981d",
    "C0300a0a8585b L5f5g", "O47777c4c C767caca7a0000g9g", "L0g50ag L2a8a",
    "L50000g5g L0757 C50909757 C57a7ag5g", "Ca4a0000gagac", "L40000g4g C40a0ag4g",
    "La0000gag L0888", "La0000g L0888", "Ca4a0000gagac Laca959", "L000g La0ag L08a8",
    "L505g L2080 L2g8g", "C808g0g0c L5080", "L000g La00a L46ag", "L000gag", "L0g0059a0ag",
    "L0g00aga0", "O00a0ag0g", "L50000g L0959 C50a0a959", "O00a0ag0g L6cah",
    "L50000g L0858 C50a0a858 L58ag", "C93900008a8ag0g0d", "L00a0 L505g", "C000a0gagaaa0",
    "L005ga0", "L002g558ga0", "L00ag La00g", "L0058a0 L585g", "L00a00gag", "L80404j8j", "L00ag",
    "L20606j2j", "L155095", "L0iai", "L3052", "C1816969a L9a9g C9a4a0a0g4g9e", "L000g O06a6ag0g",
    "C9896060g9g9d", "La0ag O06a6ag0g", "L0bab Caba6060g9g9e", "C905054 L545g L1686",
    "O06a6ag0g La6ag Cagam1m1k", "L000g C0b06a6ab Labag", "L26565g L2g8g L5152",
    "L36767h C7h7m1m1k L7172", "L000g L960c L49ag", "L20505g L2g8g",
    "L060g C09065659 L595g C5956a6a9 La9ag", "L060g C0b06a6ab Labag", "O06a6ag0g",
    "L060m O06a6ag0g", "La6am O06a6ag0g", "L161g C1b16a6a9", "C9896060baaag0g0e",
    "L424b C4b4g9g9e L0696", "L060b C0b0gagab La6ag", "L065ga6", "L062g578ga6", "L06ag La60g",
    "L065g La62m", "L06a60gag", "C80505929 C29595j8j", "L505j", "C20505989 C89595j2j",
    "C0a06565baba7",
};
static const char unknown[] = "L00a0ag0g00";

enum { ARC = 5, POINTS_MAX = 16, LINES_MAX = 128 };

typedef struct Line {
    float x0, y0, x1, y1;
} Line;

typedef struct Letter { /* straight pieces, in pixels from the corner of its cell */
    Line line[LINES_MAX];
    int n;
    float scale_x, scale_y;
} Letter;

static float digit(char c) {
    return (float)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static void add_line(Letter *l, const float from[2], const float to[2]) {
    if (l->n < LINES_MAX)
        l->line[l->n++] = (Line){from[0], from[1], to[0], to[1]};
}

/* The arc from `from` to `to` with the corner between them. */
static void add_arc(Letter *l, const float from[2], const float corner[2], const float to[2]) {
    float last[2] = {from[0], from[1]};
    for (int i = 1; i <= ARC; i++) {
        float t = (float)i / (float)ARC, a = (1 - t) * (1 - t), b = 2 * t * (1 - t), c = t * t, at[2];
        for (int k = 0; k < 2; k++)
            at[k] = a * from[k] + b * corner[k] + c * to[k];
        add_line(l, last, at);
        memcpy(last, at, sizeof last);
    }
}

static void add_stroke(Letter *l, char kind, float (*p)[2], int n) {
    if (kind == 'L')
        for (int i = 0; i + 1 < n; i++)
            add_line(l, p[i], p[i + 1]);
    int corners = kind == 'O' ? n : n - 2;
    for (int i = 0; i < corners && kind != 'L'; i++) {
        const float *a = p[i], *b = p[(i + 1) % n], *c = p[(i + 2) % n];
        int first = kind == 'C' && i == 0, last = kind == 'C' && i == corners - 1;
        float from[2], to[2];
        for (int k = 0; k < 2; k++) {
            from[k] = first ? a[k] : (a[k] + b[k]) / 2;
            to[k] = last ? c[k] : (b[k] + c[k]) / 2;
        }
        add_arc(l, from, b, to);
    }
}

static void read_letter(Letter *l, unsigned char c) {
    for (const char *s = c >= 32 && c < 127 ? strokes[c - 32] : unknown; *s;) {
        float p[POINTS_MAX][2];
        int n = 0;
        char kind = *s++;
        for (; *s && *s != ' ' && n < POINTS_MAX; s += 2, n++) {
            p[n][0] = 0.5f + l->scale_x * digit(s[0]);
            p[n][1] = 0.5f + l->scale_y * digit(s[1]);
        }
        add_stroke(l, kind, p, n);
        s += *s == ' ';
    }
}

static float distance(const Line *l, float x, float y) {
    float dx = l->x1 - l->x0, dy = l->y1 - l->y0, length = dx * dx + dy * dy;
    float t = length > 0 ? ((x - l->x0) * dx + (y - l->y0) * dy) / length : 0;
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    dx = x - l->x0 - t * dx;
    dy = y - l->y0 - t * dy;
    return sqrtf(dx * dx + dy * dy);
}

static void blend(rt_image *canvas, int x, int y, unsigned color, float cover) {
    if (x < 0 || y < 0 || x >= canvas->width || y >= canvas->height)
        return;
    unsigned char *p = canvas->data + ((size_t)y * (size_t)canvas->width + (size_t)x) * 3;
    for (int k = 0; k < 3; k++) {
        float ink = (float)(color >> (16 - 8 * k) & 255);
        p[k] = (unsigned char)lrintf((float)p[k] + cover * (ink - (float)p[k]));
    }
}

/* Scale 1: capitals 8 pixels high, 6 apart; 2: 12 and 9. */
static void draw_letter(rt_image *canvas, int x, int y, int scale, unsigned color,
                        unsigned char c) {
    float size = (float)scale;
    Letter l = {.scale_x = 0.2f + 0.2f * size, .scale_y = 0.25f + 0.25f * size};
    float half_pen = 0.35f + 0.2f * size;
    read_letter(&l, c);
    for (int j = 0; l.n && j < RT_FONT_H * scale; j++)
        for (int i = -1; i <= RT_FONT_W * scale; i++) {
            float near = 1e9f;
            for (int k = 0; k < l.n; k++)
                near = fminf(near, distance(&l.line[k], (float)i + 0.5f, (float)j + 0.5f));
            if (near < half_pen + 0.5f)
                blend(canvas, x + i, y + j, color, fminf(half_pen + 0.5f - near, 1));
        }
}

static int advance(int scale) {
    return RT_FONT_W / 2 * (scale + 1);
}

void rt_canvas_text(rt_image *canvas, int x, int y, int scale, unsigned color, const char *text) {
    for (; *text; text++, x += advance(scale))
        draw_letter(canvas, x, y, scale, color, (unsigned char)*text);
}

int rt_text_width(const char *text, int scale) {
    return (int)strlen(text) * advance(scale);
}
