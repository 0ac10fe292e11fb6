/* rt_digits.c: draws handwritten digits (see rt_digits.h).
 *
 * A skeleton is a text of pen positions; it becomes a smooth curve, is bent, turned and fitted into
 * MNIST's box, and is painted as the set of points near the pen's path (a distance field, which
 * antialiases by itself).  ensures: bits depend on (seed, split, index) only (built with
 * -ffp-contract=off).
 * theory: Catmull, Rom 1974 (curve through points); Simard, Steinkraus, Platt, ICDAR 2003 (elastic
 * distortion; here the strokes are distorted, not the pixels); LeCun et al. 1998 (20 x 20 box,
 * centre of mass in the middle of 28 x 28).
 */
#include "rt_digits.h"

#include <string.h>

enum {
    SIDE = RT_DIGITS_SIDE,
    MAX_HANDS = 6,
    MAX_POINTS = 40, /* pen positions of one skeleton */
    STEPS = 5,       /* curve pieces between two positions */
    MAX_DOTS = MAX_POINTS * STEPS + MAX_POINTS,
    GRID = 4 /* elastic field: GRID x GRID control displacements */
};

/* "x,y" pen positions, y downwards, the digit about 70 wide and 100 high; "!" a corner, "|" lifts
 * the pen.  A stroke that ends where it began is closed smoothly. */
static const char *const hands[10][MAX_HANDS] = {
    {"38,1 17,14 6,48 14,84 36,99 58,84 66,50 57,14 38,1",           /* plain oval */
     "48,0 26,16 12,52 14,86 31,99 50,82 62,46 62,12 48,0",          /* slanted, narrow */
     "50,8 28,3 8,30 7,70 28,98 54,89 66,54 58,18 36,6",             /* begins inside, ends open */
     "36,2 12,12 2,46 10,86 36,98 64,86 72,48 60,12 36,2 30,6",      /* wide, overshoots */
     "38,8 20,3 9,30 10,72 30,98 50,90 60,58 58,24 42,4 26,12"},     /* curl at the top */
    {"35,0 35,100",                                                  /* one stroke */
     "47,0 24,100",                                                  /* one slanted stroke */
     "16,26! 40,0! 39,100",                                          /* flag */
     "14,26! 38,0! 38,98! | 12,98 64,98",                            /* flag and foot */
     "20,20 32,12 42,0! 38,50 36,100"},                              /* soft flag */
    {"8,24 16,6 36,0 57,12 57,34 38,62 6,98! 66,97",                 /* straight base */
     "8,22 26,1 51,6 58,28 43,58 20,90 4,92 4,76 26,77 48,97 69,86", /* loop at the foot */
     "6,22 28,0 56,14 52,44 26,78 6,98! 28,91 48,98 68,92",          /* waved base */
     "8,12 34,4 60,6! 36,48 8,97! 66,96",                            /* drawn like a Z */
     "10,30 8,12 32,0 60,16 58,42 34,72 10,84 12,97 30,90 66,98"},   /* small loop, high */
    {"10,12 32,0 56,12 52,37 27,47! 56,57 63,80 38,100 6,88",        /* two bowls */
     "8,3! 60,2! 29,40! 56,50 63,78 38,100 4,89",                    /* flat top */
     "10,14 34,0 55,16 44,40 24,48 22,42 36,45 60,62 54,91 27,100 4,84",  /* loop in the waist */
     "8,8 40,0 58,18 46,40 28,46 50,53 65,76 42,98 6,93",                 /* soft waist */
     "14,20 20,4 46,2 54,22 40,42 20,46! 44,46 62,66 52,92 22,99 8,82"},  /* hooked ends */
    {"13,4 9,36 7,58! 66,53 | 51,14 48,100",                              /* open, two strokes */
     "48,1! 4,64! 68,64 | 48,1 47,100",                                   /* closed */
     "10,4 8,34 22,52 54,44 | 58,3 51,54 46,100",                         /* open, round */
     "42,100! 47,2! 5,62! 66,60",                                         /* closed, one stroke */
     "9,5 10,38 30,50 53,38 59,3! 56,52 42,100"},                         /* like a y */
    {"60,2! 19,3! 14,44! 38,38 62,56 57,88 31,100 6,90",                  /* one stroke */
     "19,5! 13,45! 40,40 63,62 51,94 25,100 4,88 | 18,5 66,0",            /* bar on top apart */
     "62,5 32,4 15,22 24,42 48,52 61,74 44,96 6,94",                      /* like an S */
     "56,1! 13,5! 9,50! 45,46 61,72 46,96 8,98",                          /* angular */
     "66,4 40,2 22,6! 14,46! 34,36 58,48 62,76 44,98 18,96 8,82"},        /* hooked below */
    {"53,2 26,24 8,62 16,92 40,98 60,80 50,57 27,56 10,74",               /* curved */
     "44,0 16,50 10,84 34,100 58,82 48,59 20,68",                         /* straight stem */
     "58,10 36,2 13,34 8,74 30,98 58,86 58,58 34,48 12,66",               /* hook at the top */
     "38,0 20,40 12,78 27,98 46,89 45,69 28,64 13,82",                    /* small eye */
     "24,0 12,34 8,70 22,96 48,96 62,76 48,58 22,62 10,80"},              /* upright */
    {"6,5! 62,4! 28,100",                                                 /* plain */
     "6,7! 62,4! 25,100 | 14,54 58,49",                                   /* with a bar */
     "9,22! 9,4! 62,4! 41,46 29,100",                                     /* serif */
     "6,11 26,2 44,8 64,2! 44,44 33,100",                                 /* waved top */
     "8,20! 8,6 38,4 62,5! 38,54 26,100 | 18,50 56,50"},                  /* serif and bar */
    {"56,14 34,0 12,14 23,39 50,59 58,84 34,100 10,84 19,59 47,39 56,14", /* one stroke */
     "36,2 14,12 16,38 36,47 56,36 56,11 36,2 | 36,47 11,60 10,89 36,100 62,88 60,60 36,47",
     "61,6 32,2 13,18 30,44 57,66 50,95 21,98 10,77 30,51 63,12", /* open at the top */
     "52,4 23,6 18,29 47,56 52,87 29,100 10,85 21,60 60,3",       /* straight way up */
     "36,48 14,34 18,8 42,0 58,16 48,38 36,48 12,66 16,94 42,100 60,82 54,60 36,48"},
    {"58,14 36,0 12,16 12,42 34,51 54,38 58,14! 56,58 54,100", /* straight stem */
     "59,18 37,0 12,18 16,45 40,48 58,22 60,60 45,93 13,97",   /* curved tail */
     "52,8 28,2 10,24 20,46 43,38 54,6! 45,58 31,100",         /* slanted */
     "57,10 25,4 8,28 22,49 48,41 62,9! 54,56 26,100",         /* open at the top */
     "36,2 14,14 16,42 40,46 54,26 36,2! 58,20 60,62 52,100"}, /* round, then stem */
};

typedef struct vec2 {
    float x, y;
} vec2;

struct skeleton {
    int n;
    vec2 at[MAX_POINTS];
    unsigned char corner[MAX_POINTS]; /* 1: no smooth tangent here */
    unsigned char begin[MAX_POINTS];  /* 1: first position of a stroke */
};

struct path {
    int n;
    vec2 at[MAX_DOTS];
    float radius[MAX_DOTS];
    unsigned char begin[MAX_DOTS]; /* 1: the pen was lifted before this dot */
};

/* A stream of numbers for one sample; draws blocks of Philox as needed. */
struct stream {
    rt_rng rng;
    uint32_t lo, hi, block;
    int left;
    uint32_t word[4];
};

static uint32_t bits(struct stream *s) {
    if (s->left == 0) {
        rt_rng_block(s->rng, s->lo, s->hi, s->block++, 1, s->word);
        s->left = 4;
    }
    return s->word[--s->left];
}

static float uniform(struct stream *s, float lo, float hi) {
    return lo + (hi - lo) * rt_rng_unit(bits(s));
}

/* Close to N(0,1) but never beyond 2.45: the sum of two uniforms, cheap and without outliers. */
static float bell(struct stream *s) {
    uint32_t w = bits(s);
    return ((float)(w & 0xFFFF) + (float)(w >> 16) - 65535.0f) * (2.4494897f / 65535.0f);
}

static void parse_hand(const char *text, struct skeleton *sk) {
    int begin = 1;
    sk->n = 0;
    while (*text && sk->n < MAX_POINTS) {
        if (*text == ' ') {
            text++;
        } else if (*text == '|') {
            begin = 1;
            text++;
        } else if (*text == '!') {
            sk->corner[sk->n - 1] = 1;
            text++;
        } else {
            int v[2] = {0, 0};
            for (int k = 0; k < 2; k++) {
                while (*text >= '0' && *text <= '9')
                    v[k] = v[k] * 10 + (*text++ - '0');
                if (k == 0)
                    text++; /* the comma */
            }
            sk->at[sk->n] = (vec2){(float)v[0], (float)v[1]};
            sk->corner[sk->n] = 0;
            sk->begin[sk->n++] = (unsigned char)begin;
            begin = 0;
        }
    }
}

static void add_dot(struct path *p, vec2 at, int begin) {
    p->at[p->n] = at;
    p->begin[p->n++] = (unsigned char)begin;
}

/* Tangent at position i of the stroke first..last; 0 at corners and free ends, which makes the
 * cubic relax there. */
static vec2 tangent(const struct skeleton *sk, int first, int last, int closed, int i) {
    int a = i - 1, b = i + 1;
    if (closed && i == first)
        a = last - 1;
    if (closed && i == last)
        b = first + 1;
    if (a < first || b > last || sk->corner[i])
        return (vec2){0, 0};
    return (vec2){(sk->at[b].x - sk->at[a].x) * 0.5f, (sk->at[b].y - sk->at[a].y) * 0.5f};
}

/* Hermite curve through the positions of one stroke. */
static void trace_stroke(const struct skeleton *sk, int first, int last, int closed,
                         struct path *p) {
    add_dot(p, sk->at[first], 1);
    for (int i = first; i < last; i++) {
        vec2 a = sk->at[i], b = sk->at[i + 1];
        vec2 ta = tangent(sk, first, last, closed, i), tb = tangent(sk, first, last, closed, i + 1);
        for (int k = 1; k <= STEPS; k++) {
            float t = (float)k / (float)STEPS, u = 1.0f - t;
            float ha = u * u * (1.0f + 2.0f * t), hb = t * t * (3.0f - 2.0f * t);
            float ga = u * u * t, gb = -t * t * u;
            add_dot(p,
                    (vec2){ha * a.x + hb * b.x + ga * ta.x + gb * tb.x,
                           ha * a.y + hb * b.y + ga * ta.y + gb * tb.y},
                    0);
        }
    }
}

/* closed[] remembers which strokes end at their start before jitter moves the ends apart. */
static void trace(const struct skeleton *sk, const unsigned char *closed, struct path *p) {
    p->n = 0;
    for (int first = 0; first < sk->n;) {
        int last = first;
        while (last + 1 < sk->n && !sk->begin[last + 1])
            last++;
        trace_stroke(sk, first, last, closed[first], p);
        first = last + 1;
    }
}

static void find_closed(const struct skeleton *sk, unsigned char *closed) {
    for (int first = 0; first < sk->n;) {
        int last = first;
        while (last + 1 < sk->n && !sk->begin[last + 1])
            last++;
        closed[first] =
            last > first && sk->at[first].x == sk->at[last].x && sk->at[first].y == sk->at[last].y;
        first = last + 1;
    }
}

/* Moves each dot by a smooth random field: quadratic B-spline over a GRID x GRID lattice. */
static void bend(struct path *p, struct stream *s, float strength) {
    vec2 field[GRID][GRID];
    for (int j = 0; j < GRID; j++)
        for (int i = 0; i < GRID; i++)
            field[j][i] = (vec2){strength * bell(s), strength * bell(s)};
    for (int k = 0; k < p->n; k++) {
        float pos[2] = {(p->at[k].x + 10.0f) * ((GRID - 2) / 90.0f) + 0.5f,
                        (p->at[k].y + 10.0f) * ((GRID - 2) / 120.0f) + 0.5f};
        int cell[2];
        float w[2][3];
        for (int axis = 0; axis < 2; axis++) {
            float v = pos[axis] < 0.5f                  ? 0.5f
                      : pos[axis] > (float)GRID - 1.51f ? (float)GRID - 1.51f
                                                        : pos[axis];
            cell[axis] = (int)(v + 0.5f) - 1;
            float t = v - (float)(cell[axis] + 1) + 0.5f; /* 0..1 */
            w[axis][0] = 0.5f * (1.0f - t) * (1.0f - t);
            w[axis][2] = 0.5f * t * t;
            w[axis][1] = 1.0f - w[axis][0] - w[axis][2];
        }
        vec2 shift = {0, 0};
        for (int j = 0; j < 3; j++)
            for (int i = 0; i < 3; i++) {
                float weight = w[1][j] * w[0][i];
                shift.x += weight * field[cell[1] + j][cell[0] + i].x;
                shift.y += weight * field[cell[1] + j][cell[0] + i].y;
            }
        p->at[k].x += shift.x;
        p->at[k].y += shift.y;
    }
}

struct box {
    float x0, y0, x1, y1;
};

static struct box bounds(const struct path *p) {
    struct box b = {p->at[0].x, p->at[0].y, p->at[0].x, p->at[0].y};
    for (int i = 1; i < p->n; i++) {
        vec2 v = p->at[i];
        b.x0 = v.x < b.x0 ? v.x : b.x0;
        b.x1 = v.x > b.x1 ? v.x : b.x1;
        b.y0 = v.y < b.y0 ? v.y : b.y0;
        b.y1 = v.y > b.y1 ? v.y : b.y1;
    }
    return b;
}

/* Multiplies by the 2 x 2 matrix {m0 m1; m2 m3}. */
static void transform(struct path *p, const float m[4]) {
    for (int i = 0; i < p->n; i++) {
        vec2 v = p->at[i];
        p->at[i] = (vec2){m[0] * v.x + m[1] * v.y, m[2] * v.x + m[3] * v.y};
    }
}

/* Centre of the ink: mean of the pieces weighted with their length. */
static vec2 centre_of_mass(const struct path *p) {
    float sx = 0, sy = 0, sum = 1e-6f;
    for (int i = 1; i < p->n; i++) {
        if (p->begin[i])
            continue;
        vec2 a = p->at[i - 1], b = p->at[i];
        float dx = b.x - a.x, dy = b.y - a.y, len = __builtin_sqrtf(dx * dx + dy * dy);
        sx += len * (a.x + b.x) * 0.5f;
        sy += len * (a.y + b.y) * 0.5f;
        sum += len;
    }
    return (vec2){sx / sum, sy / sum};
}

static float clamp(float v, float lo, float hi) {
    return v < lo ? lo : v > hi ? hi : v;
}

/* Scales the longer side to size pixels (pen included) and moves the centre of mass to the middle
 * plus shift, but never off the sheet. */
static void fit(struct path *p, float size, float pen, vec2 shift) {
    struct box b = bounds(p);
    float w = b.x1 - b.x0, h = b.y1 - b.y0, longest = w > h ? w : h;
    float scale = (size - 2.0f * pen) / (longest > 1.0f ? longest : 1.0f);
    const float m[4] = {scale, 0, 0, scale};
    transform(p, m);
    vec2 c = centre_of_mass(p);
    b = bounds(p);
    /* pressure adds up to a third of the radius, the soft edge 0.85; the border row stays free */
    float middle = (float)SIDE * 0.5f, edge = 1.35f * pen + 1.4f;
    float dx = clamp(middle + shift.x - c.x, edge - b.x0, (float)SIDE - edge - b.x1);
    float dy = clamp(middle + shift.y - c.y, edge - b.y0, (float)SIDE - edge - b.y1);
    for (int i = 0; i < p->n; i++) {
        p->at[i].x += dx;
        p->at[i].y += dy;
    }
}

/* field[y][x] = least over all pieces of (distance of the pixel's centre - pen radius there). */
static void distance_field(const struct path *p, float *field) {
    for (int i = 0; i < SIDE * SIDE; i++)
        field[i] = 9.0f;
    for (int i = 1; i < p->n; i++) {
        if (p->begin[i])
            continue;
        vec2 a = p->at[i - 1], b = p->at[i];
        float r0 = p->radius[i - 1], dr = p->radius[i] - r0;
        float dx = b.x - a.x, dy = b.y - a.y, len2 = dx * dx + dy * dy;
        float inv = len2 > 1e-6f ? 1.0f / len2 : 0.0f;
        float reach = (dr > 0 ? r0 + dr : r0) + 1.0f;
        float left = (a.x < b.x ? a.x : b.x) - reach, right = (a.x < b.x ? b.x : a.x) + reach;
        float top = (a.y < b.y ? a.y : b.y) - reach, bottom = (a.y < b.y ? b.y : a.y) + reach;
        int x0 = (int)clamp(left, 0, SIDE), x1 = (int)clamp(right + 1.0f, 0, SIDE);
        int y0 = (int)clamp(top, 0, SIDE), y1 = (int)clamp(bottom + 1.0f, 0, SIDE);
        for (int y = y0; y < y1; y++) {
            float py = (float)y + 0.5f - a.y;
            float *row = field + y * SIDE;
            for (int x = x0; x < x1; x++) {
                float px = (float)x + 0.5f - a.x;
                float t = (px * dx + py * dy) * inv;
                t = t < 0.0f ? 0.0f : t;
                t = t > 1.0f ? 1.0f : t;
                float ex = px - t * dx, ey = py - t * dy;
                float d = __builtin_sqrtf(ex * ex + ey * ey) - (r0 + t * dr);
                row[x] = d < row[x] ? d : row[x];
            }
        }
    }
}

/* Pixel value: ink where the distance is negative, a ramp of width soft at the edge. */
static void paint(const float *field, float soft, float ink, float grain, struct stream *s,
                  unsigned char *pixels) {
    uint32_t noise = 0;
    int left = 0;
    float inv = 1.0f / soft;
    for (int i = 0; i < SIDE * SIDE; i++) {
        float cover = 0.5f - field[i] * inv;
        if (cover <= 0.0f) {
            pixels[i] = 0;
            continue;
        }
        if (cover > 1.0f)
            cover = 1.0f;
        cover = cover * cover * (3.0f - 2.0f * cover);
        if (left == 0 && grain > 0.0f) {
            noise = bits(s);
            left = 4;
        }
        float g = 1.0f - grain * (float)(noise & 255) * (1.0f / 255.0f);
        noise >>= 8;
        left--;
        pixels[i] = (unsigned char)(255.0f * cover * ink * g + 0.5f);
    }
}

/* Radius along the pen's way: a slow random wave plus a little less pressure at both ends. */
static void press(struct path *p, struct stream *s, float radius) {
    float from = bell(s), to = bell(s);
    int knot = 0;
    for (int i = 0; i < p->n; i++) {
        if (p->begin[i] || ++knot == 3 * STEPS) {
            knot = 0;
            from = to;
            to = bell(s);
        }
        float t = (float)knot / (float)(3 * STEPS), wave = from + (to - from) * t;
        int end = p->begin[i] || i + 1 == p->n || p->begin[i + 1];
        p->radius[i] = radius * (1.0f + 0.14f * wave) * (end ? 0.86f : 1.0f);
    }
}

/* Slant, turn, width: the matrix of the affine map. */
static void affine(struct stream *s, float m[4]) {
    float angle = clamp(0.125f * bell(s), -0.2618f, 0.2618f); /* radians, at most 15 degrees */
    float a2 = angle * angle;
    float sn = angle * (1.0f - a2 * (1.0f / 6.0f)),
          cs = 1.0f - a2 * 0.5f + a2 * a2 * (1.0f / 24.0f);
    float shear = -0.06f + 0.17f * bell(s); /* most people lean to the right: y grows downwards */
    float wide = 1.0f + 0.15f * bell(s);
    /* turn * shear * widen */
    m[0] = cs * wide;
    m[1] = cs * shear - sn;
    m[2] = sn * wide;
    m[3] = sn * shear + cs;
}

rt_digits rt_digits_make(uint64_t seed, int test) {
    return (rt_digits){rt_rng_make(seed, test ? RT_RNG_DIGITS_TEST : RT_RNG_DIGITS_TRAIN)};
}

int rt_digits_label(const rt_digits *d, int64_t index) {
    uint64_t group = (uint64_t)index / 10;
    int order[10];
    uint32_t word[12];
    for (uint32_t k = 0; k < 3; k++)
        rt_rng_block(d->rng, (uint32_t)group, (uint32_t)(group >> 32), k, 0, word + 4 * k);
    for (int i = 0; i < 10; i++)
        order[i] = i;
    for (int i = 9; i > 0; i--) { /* Fisher-Yates */
        int j = (int)rt_rng_below(word[i], (uint32_t)i + 1), swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    return order[(uint64_t)index % 10];
}

int rt_digits_hands(int digit) {
    int n = 0;
    while (n < MAX_HANDS && hands[digit][n])
        n++;
    return n;
}

void rt_digits_draw(const rt_digits *d, int64_t index, unsigned char *pixels) {
    struct stream s = {
        .rng = d->rng, .lo = (uint32_t)index, .hi = (uint32_t)((uint64_t)index >> 32)};
    int digit = rt_digits_label(d, index);
    int hand = (int)rt_rng_below(bits(&s), (uint32_t)rt_digits_hands(digit));
    struct skeleton sk;
    struct path p;
    unsigned char closed[MAX_POINTS] = {0};
    float field[SIDE * SIDE], m[4];
    parse_hand(hands[digit][hand], &sk);
    find_closed(&sk, closed);
    for (int i = 0; i < sk.n; i++) {
        sk.at[i].x += 2.0f * bell(&s);
        sk.at[i].y += 2.0f * bell(&s);
    }
    for (int first = 0, i = 1; i <= sk.n; i++) {
        if (i < sk.n && !sk.begin[i])
            continue;
        if (closed[first])
            sk.at[i - 1] = sk.at[first];
        first = i;
    }
    trace(&sk, closed, &p);
    bend(&p, &s, 11.0f);
    affine(&s, m);
    transform(&p, m);
    float radius = 1.12f + 0.27f * bell(&s);
    press(&p, &s, radius);
    float size = uniform(&s, 18.0f, 21.5f);
    vec2 shift = {0.55f * bell(&s), 0.55f * bell(&s)};
    fit(&p, size, radius, shift);
    distance_field(&p, field);
    float soft = uniform(&s, 1.0f, 1.7f), ink = uniform(&s, 0.84f, 1.0f);
    paint(field, soft, ink, uniform(&s, 0.0f, 0.16f), &s, pixels);
}

void rt_digits_draw_plain(int digit, int hand, unsigned char *pixels) {
    struct skeleton sk;
    struct path p;
    unsigned char closed[MAX_POINTS] = {0};
    float field[SIDE * SIDE];
    parse_hand(hands[digit][hand], &sk);
    find_closed(&sk, closed);
    trace(&sk, closed, &p);
    for (int i = 0; i < p.n; i++)
        p.radius[i] = 1.1f;
    fit(&p, 20.0f, 1.1f, (vec2){0, 0});
    distance_field(&p, field);
    paint(field, 1.2f, 1.0f, 0.0f, NULL, pixels);
}
