/* rt_gram.c: Gram matrices and their gradients (rt_gram.h).
 *
 * A piece of cells is packed to [block of 16 maps][cell][16], small enough for the second cache.
 * One register tile serves both products: rows of scalars against one or two vectors of 16 maps.
 *   G    rows: maps of a block; summed over the cells of a piece, pieces of a part one after the
 *        other in floats, the parts (a fixed number) at last in double.
 *   D F  rows: cells; summed over all maps.
 * theory: Goto and van de Geijn 2008 (packing for the caches, tiles for the registers).
 */
#include "rt_gram.h"

#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "rt_layout.h"
#include "rt_par.h"
#include "rt_peak.h"

enum { LINE = 64 }; /* bytes */
enum { LANES = 16, ROWS = 8, GROUP = 4, PARTS = 64 }; /* a tile's most rows; a task's blocks;
                                                         tasks wanted */
enum { PIECE = 1 << 16, LEAST = 128, MOST = 512 }; /* floats packed at a time; cells: longer chains
                                                      round worse */
typedef float V16 __attribute__((vector_size(64)));

/* ---- register tiles ---- */

/* out[r][v] = sum over o < outer, k < inner of x[o * far + k * near + r * across] * y_v[..], y one
 * vector further for each term. */
typedef struct Tile {
    const float *x, *y0, *y1;
    int64_t outer, inner, far;
    float *out; /* rows of 2 vectors */
} Tile;

#define EACH2(F) F(0) F(1)
#define EACH4(F) EACH2(F) F(2) F(3)
#define EACH6(F) EACH4(F) F(4) F(5)
#define EACH8(F) EACH6(F) F(6) F(7)
#define START(r) a##r = zero, b##r = zero,
#define TERM(r) s = SET(x[(r) * across]), a##r = ADD(s, p, a##r), b##r = ADD(s, q, b##r);
#define STORE(r) memcpy(t->out + (r) * 2 * LANES, &a##r, sizeof a##r);                             \
    memcpy(t->out + (r) * 2 * LANES + second, &b##r, sizeof b##r);
/* y0 holds p and, where a vector of this type is half of 16 maps, q too; else y1 holds q. */
#define TILE(name, how, V, each, near, across_)                                                    \
    how static void name(const Tile *t) {                                                          \
        enum { across = across_, half = sizeof(V) == 32, second = half ? 8 : LANES };              \
        const float *y0 = t->y0, *y1 = half ? t->y0 + 8 : t->y1;                                   \
        V zero = {0}, each(START) p, q, s;                                                         \
        for (int64_t o = 0; o < t->outer; o++) {                                                   \
            const float *x = t->x + o * t->far;                                                    \
            for (int64_t k = 0; k < t->inner; k++, x += near, y0 += LANES, y1 += LANES) {          \
                memcpy(&p, y0, sizeof p);                                                          \
                memcpy(&q, y1, sizeof q);                                                          \
                each(TERM)                                                                         \
            }                                                                                      \
        }                                                                                          \
        each(STORE)                                                                                \
    }
#define TILES(name, how, V, each)                                                                  \
    TILE(gram_##name, how, V, each, LANES, 1)                                                      \
    TILE(back_##name, how, V, each, 1, LANES)

#if defined(__x86_64__)
#define SET(x) _mm512_set1_ps(x)
#define ADD(s, y, a) _mm512_fmadd_ps(s, y, a)
TILES(avx512, __attribute__((target("avx512f,avx512vl,avx2,fma"))), __m512, EACH8)
#undef SET
#undef ADD
#define SET(x) _mm256_set1_ps(x)
#define ADD(s, y, a) _mm256_fmadd_ps(s, y, a)
TILES(avx2, __attribute__((target("avx2,fma"))), __m256, EACH4)
#undef SET
#undef ADD
#endif
/* Everywhere: without fused multiply-adds. */
#define SET(x) (V16){0} + (x)
#define ADD(s, y, a) (a) + (s) * (y)
TILES(plain, , V16, EACH2)

typedef struct Tiles {
    int rows, wide; /* wide: vectors */
    void (*gram)(const Tile *), (*back)(const Tile *);
} Tiles;

static Tiles find_tiles(int fma) {
#if defined(__x86_64__)
    if (fma && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl"))
        return (Tiles){8, 2, gram_avx512, back_avx512};
    if (fma)
        return (Tiles){4, 1, gram_avx2, back_avx2};
    return (Tiles){2, 2, gram_plain, back_plain};
#else
    (void)fma;
    return (Tiles){2, 2, gram_plain, back_plain};
#endif
}

int rt_gram_fma(const rt_model *model) { return rt_peak_lanes(model) >= 8; }

/* ---- layers in memory ---- */

rt_maps rt_maps_plain(float *at, int64_t maps, int64_t h, int64_t w) {
    return (rt_maps){at, maps, h, w, 1, h * w, w};
}

int rt_maps_of(const netrt *m, int tensor, int64_t image, rt_maps *out) {
    const rt_tensor *t = &m->model->program[RT_LOOK].tensor[tensor];
    const rt_layout *l = &t->layout;
    int64_t stride[3][2] = {{0}}, mult[3][2] = {{0}}, inner = 1, zero[RT_MAX_DIMS] = {0};
    int count[3] = {0};
    if (l->rank != 3 || t->dtype != RT_F32 || rt_tensor_frames(t) > 1)
        return 0;
    for (int a = l->naxes - 1; a >= 0; a--) { /* from the innermost */
        int d = l->axis[a].dim;
        if (d < 0 || d > 2 || count[d] == 2)
            return 0;
        stride[d][count[d]] = inner;
        mult[d][count[d]++] = l->axis[a].mult;
        inner *= l->axis[a].extent;
    }
    int64_t lanes = count[0] == 2 ? mult[0][1] : 1;
    if (count[0] < 1 || count[1] != 1 || count[2] != 1 || mult[1][0] != 1 || mult[2][0] != 1 ||
        mult[0][0] != 1 || stride[2][0] != lanes || (lanes > 1 && stride[0][0] != 1) ||
        (lanes > 1 && LANES % lanes))
        return 0;
    int64_t first = rt_layout_at(l, zero);
    if (first < 0)
        return 0;
    *out = (rt_maps){(float *)rt_tensor_at(m, RT_LOOK, tensor, image) + first,
                      l->dim[0], l->dim[1], l->dim[2], lanes, stride[0][count[0] - 1],
                      stride[1][0]};
    return 1;
}

static int64_t blocks_of(int64_t maps) { return (maps + LANES - 1) / LANES; }

/* Cells of a piece: a multiple of every tile's rows. */
static int64_t piece_of(int64_t maps, int64_t cells) {
    int64_t n = PIECE / (blocks_of(maps) * LANES) / LANES * LANES;
    n = n < LEAST ? LEAST : n > MOST ? MOST : n;
    return n < cells ? n : (cells + LANES - 1) / LANES * LANES;
}

/* Calls body for the runs of cells of from .. to that lie in one row: place in memory of the first
 * one's map 0, number of it among the piece's, how many. */
#define EACH_RUN(f, from, to, place, at, n)                                                        \
    for (int64_t at = 0, cell_ = (from), n, place; cell_ < (to) &&                                 \
         (n = (f)->w - cell_ % (f)->w, n = n < (to) - cell_ ? n : (to) - cell_,                    \
          place = cell_ / (f)->w * (f)->row + cell_ % (f)->w * (f)->lanes, 1);                     \
         cell_ += n, at += n)

/* Blocks 0 .. blocks - 1 of the cells from .. to; maps and cells that are not there are zero. */
static void pack(const rt_maps *f, int64_t blocks, int64_t from, int64_t to, int64_t piece,
                 float *out) {
    for (int64_t b = 0; b < blocks; b++, out += piece * LANES) {
        memset(out + (to - from) * LANES, 0, (size_t)(piece - (to - from)) * LANES * sizeof *out);
        for (int64_t c = b * LANES; c < (b + 1) * LANES; c += f->lanes) {
            float *to_lane = out + c % LANES;
            const float *src = f->at + c / f->lanes * f->block;
            int64_t here = f->maps - c < f->lanes ? f->maps - c : f->lanes;
            EACH_RUN(f, from, to, place, at, n) {
                if (f->lanes == LANES && here == LANES)
                    memcpy(to_lane + at * LANES, src + place, (size_t)(n * LANES) * sizeof *out);
                else if (f->lanes == 8 && here == 8)
                    for (int64_t i = 0; i < n; i++)
                        memcpy(to_lane + (at + i) * LANES, src + place + i * 8, 8 * sizeof *out);
                else
                    for (int64_t i = 0; i < n; i++)
                        for (int64_t v = 0; v < f->lanes; v++)
                            to_lane[(at + i) * LANES + v] =
                                v < here ? src[place + i * f->lanes + v] : 0;
            }
        }
    }
}

/* ---- G ---- */

typedef struct Gram {
    const rt_maps *f;
    Tiles tiles;
    int64_t blocks, width, piece, pieces, parts, groups; /* width: maps in whole blocks */
    float *partial, *packed; /* parts * width * width; a piece per thread */
    const float *d;          /* D in blocks: [block][map][16] */
    float *gram;
    const rt_maps *diff;
    int add, rectified;
} Gram;

static Gram plan(const rt_maps *f, const rt_gram_how *how) {
    Gram g = {.f = f, .tiles = find_tiles(how->fma), .blocks = blocks_of(f->maps)};
    int64_t cells = f->h * f->w;
    g.width = g.blocks * LANES;
    g.piece = piece_of(f->maps, cells);
    g.pieces = (cells + g.piece - 1) / g.piece;
    g.groups = (g.blocks + GROUP - 1) / GROUP;
    g.parts = PARTS / g.groups < 4 ? 4 : PARTS / g.groups;
    g.parts = g.parts < g.pieces ? g.parts : g.pieces;
    g.partial = (float *)(((uintptr_t)how->room + LINE - 1) / LINE * LINE);
    g.packed = g.partial + g.parts * g.width * g.width;
    return g;
}

int64_t rt_gram_room(int64_t maps, int64_t cells, int threads) {
    rt_maps f = rt_maps_plain(NULL, maps, 1, cells);
    rt_gram_how how = {.threads = threads};
    int64_t square, parts, piece;
    if (maps > (int64_t)1 << 20 || cells > (int64_t)1 << 40)
        return -1;
    Gram g = plan(&f, &how);
    if (__builtin_mul_overflow(g.width, g.width, &square) ||
        __builtin_mul_overflow(square, g.parts + 1, &parts) ||
        __builtin_mul_overflow(g.width * g.piece, (int64_t)threads, &piece) ||
        __builtin_add_overflow(parts, piece, &parts))
        return -1;
    return parts + LINE / (int64_t)sizeof(float);
}

/* Rows of block bi against all blocks up to it: one piece into a part. */
static void gram_block(const Gram *g, const float *packed, int64_t bi, float *part) {
    float out[ROWS * 2 * LANES];
    int64_t size = g->piece * LANES, rows = g->tiles.rows, wide = g->tiles.wide;
    for (int64_t bj = 0; bj <= bi; bj += wide) {
        int two = wide == 2 && bj < bi;
        for (int64_t r = 0; r < LANES; r += rows) {
            Tile t = {packed + bi * size + r, packed + bj * size, packed + (bj + two) * size, 1,
                      g->piece, 0, out};
            g->tiles.gram(&t);
            for (int64_t i = 0; i < rows; i++) {
                float *to = part + (bi * LANES + r + i) * g->width + bj * LANES;
                for (int64_t v = 0; v < (two ? 2 * LANES : LANES); v++)
                    to[v] += out[i * 2 * LANES + v];
            }
        }
    }
}

/* Task: a group of blocks of rows in a part of the pieces. */
static void gram_task(void *context, int64_t lo, int64_t hi, int thread) {
    const Gram *g = context;
    float *packed = g->packed + thread * g->width * g->piece;
    int64_t cells = g->f->h * g->f->w;
    for (int64_t t = lo; t < hi; t++) {
        int64_t part = t / g->groups, first = (g->groups - 1 - t % g->groups) * GROUP;
        int64_t last = first + GROUP < g->blocks ? first + GROUP : g->blocks;
        float *to = g->partial + part * g->width * g->width;
        memset(to + first * LANES * g->width, 0,
               (size_t)((last - first) * LANES * g->width) * sizeof *to);
        for (int64_t p = part * g->pieces / g->parts; p < (part + 1) * g->pieces / g->parts; p++) {
            int64_t from = p * g->piece, end = from + g->piece < cells ? from + g->piece : cells;
            pack(g->f, last, from, end, g->piece, packed);
            for (int64_t b = first; b < last; b++)
                gram_block(g, packed, b, to);
        }
    }
}

/* Rows of G, parts in order, in double. */
static void sum_rows(void *context, int64_t lo, int64_t hi, int thread) {
    enum { AT_ONCE = 64 };
    const Gram *g = context;
    int64_t c = g->f->maps;
    (void)thread;
    for (int64_t i = lo; i < hi; i++)
        for (int64_t from = 0; from <= i; from += AT_ONCE) {
            int64_t n = i + 1 - from < AT_ONCE ? i + 1 - from : AT_ONCE;
            double sum[AT_ONCE] = {0};
            for (int64_t p = 0; p < g->parts; p++) {
                const float *part = g->partial + (p * g->width + i) * g->width + from;
                for (int64_t j = 0; j < n; j++)
                    sum[j] += (double)part[j];
            }
            for (int64_t j = 0; j < n; j++)
                g->gram[i * c + from + j] = g->gram[(from + j) * c + i] = (float)sum[j];
        }
}

void rt_gram(const rt_maps *f, float *gram, const rt_gram_how *how) {
    Gram g = plan(f, how);
    g.gram = gram;
    rt_parallel_for(how->threads, g.parts * g.groups, 1, gram_task, &g);
    rt_parallel_for(how->threads, f->maps, 16, sum_rows, &g);
}

/* ---- D F ---- */

/* n numbers, n a constant where it matters */
static inline __attribute__((always_inline)) void put(const Gram *g, const float *x, const float *y,
                                                      float *to, int64_t n) {
    if (g->rectified && g->add)
        for (int64_t i = 0; i < n; i++)
            to[i] += x[i] > 0 ? y[i] : 0;
    else
        for (int64_t i = 0; i < n; i++)
            to[i] = (g->add ? to[i] : 0) + (g->rectified && !(x[i] > 0) ? 0 : y[i]);
}

/* A tile's rows (cells at, at + 1, ..) of `blocks` blocks from block b on. */
static void store(const Gram *g, const float *packed, int64_t from, int64_t at, int64_t rows,
                  int64_t b, int64_t blocks, const float *out) {
    const rt_maps *d = g->diff;
    for (int64_t v = 0; v < blocks; v++) {
        int64_t first = (b + v) * LANES, last = first + LANES < d->maps ? first + LANES : d->maps;
        for (int64_t c = first; c < last; c += d->lanes) {
            float *map = d->at + c / d->lanes * d->block;
            int64_t n = last - c < d->lanes ? last - c : d->lanes;
            for (int64_t r = 0; r < rows; r++) {
                int64_t cell = from + at + r;
                const float *x = packed + ((b + v) * g->piece + at + r) * LANES + c - first;
                const float *y = out + (r * 2 + v) * LANES + c - first;
                float *to = map + cell / d->w * d->row + cell % d->w * d->lanes;
                if (n == 16)
                    put(g, x, y, to, 16);
                else if (n == 8)
                    put(g, x, y, to, 8);
                else
                    put(g, x, y, to, n);
            }
        }
    }
}

static void back_task(void *context, int64_t lo, int64_t hi, int thread) {
    const Gram *g = context;
    float out[ROWS * 2 * LANES], *packed = g->packed + thread * g->width * g->piece;
    int64_t cells = g->f->h * g->f->w, rows = g->tiles.rows, wide = g->tiles.wide;
    for (int64_t p = lo; p < hi; p++) {
        int64_t from = p * g->piece, end = from + g->piece < cells ? from + g->piece : cells;
        pack(g->f, g->blocks, from, end, g->piece, packed);
        for (int64_t b = 0; b < g->blocks; b += wide) {
            int64_t two = wide == 2 && b + 1 < g->blocks;
            const float *y = g->d + b * g->width * LANES;
            for (int64_t at = 0; at < end - from; at += rows) {
                Tile t = {packed + at * LANES, y, y + two * g->width * LANES, g->blocks, LANES,
                          g->piece * LANES, out};
                g->tiles.back(&t);
                store(g, packed, from, at, end - from - at < rows ? end - from - at : rows, b,
                      1 + two, out);
            }
        }
    }
}

void rt_gram_back(const rt_maps *f, const float *d, const rt_maps *diff, int add, int rectified,
                  const rt_gram_how *how) {
    Gram g = plan(f, how);
    float *blocked = g.partial; /* where the parts of G were */
    for (int64_t b = 0; b < g.blocks; b++)
        for (int64_t j = 0; j < g.width; j++)
            for (int64_t v = 0; v < LANES; v++) {
                int64_t i = b * LANES + v;
                *blocked++ = i < f->maps && j < f->maps ? d[j * f->maps + i] : 0;
            }
    g.d = g.partial;
    g.diff = diff;
    g.add = add;
    g.rectified = rectified;
    rt_parallel_for(how->threads, g.pieces, 1, back_task, &g);
}
