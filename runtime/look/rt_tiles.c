/* rt_tiles.c: values and gradients of pictures larger or smaller than a network's input (rt_tiles.h).
 * Tiles are added in their order, whatever the size of a batch: the same bits for any batch.
 */
#include "rt_tiles.h"

#include <string.h>

#include "rt_alloc.h"

int rt_tiles_open(rt_tiles *t, rt_viz *v, const rt_term *term, int nterms, int64_t largest,
                  rt_error *err) {
    *t = (rt_tiles){.most = v->look.cap};
    int64_t input = rt_input_count(v->m->model, 0), tiles = 4 * (largest / (input > 0 ? input : 1) + 1);
    t->most = tiles < t->most ? tiles : t->most;
    if (rt_paint_open(&t->p, v, term, nterms, t->most, err))
        return err->code;
    t->cover = rt_alloc((size_t)largest, sizeof *t->cover, "a picture", err);
    return err->code;
}

void rt_tiles_close(rt_tiles *t) {
    rt_paint_close(&t->p);
    rt_free(t->cover);
    t->cover = NULL;
}

static int64_t along(int64_t picture, int64_t tile) {
    return (picture + tile - 1) / tile;
}

int64_t rt_tiles_count(const rt_tiles *t, rt_planes size) {
    return along(size.h, t->p.size.h) * along(size.w, t->p.size.w);
}

/* Corner of tile i. */
static void corner(const rt_tiles *t, rt_planes size, int64_t i, int64_t *y, int64_t *x) {
    int64_t ny = along(size.h, t->p.size.h), nx = along(size.w, t->p.size.w);
    *y = i / nx * size.h / ny;
    *x = i % nx * size.w / nx;
}

static int64_t wrap(int64_t i, int64_t n) {
    i %= n;
    return i < 0 ? i + n : i;
}

static void cut(rt_tiles *t, const float *pixel, rt_planes size, int64_t y0, int64_t x0, float *to) {
    rt_planes in = t->p.size;
    for (int64_t k = 0; k < in.c; k++)
        for (int64_t y = 0; y < in.h; y++) {
            const float *row = pixel + (k * size.h + wrap(y0 + y, size.h)) * size.w;
            int64_t at = (k * in.h + y) * in.w, from = wrap(x0, size.w);
            for (int64_t x = 0; x < in.w; x++) {
                to[at + x] = row[from] - t->p.zero[at + x];
                from = from + 1 < size.w ? from + 1 : 0;
            }
        }
}

static void add(rt_tiles *t, const float *part, rt_planes size, int64_t y0, int64_t x0, float *g) {
    rt_planes in = t->p.size;
    for (int64_t k = 0; k < in.c; k++)
        for (int64_t y = 0; y < in.h; y++) {
            int64_t row = (k * size.h + wrap(y0 + y, size.h)) * size.w;
            int64_t at = (k * in.h + y) * in.w, from = wrap(x0, size.w);
            for (int64_t x = 0; x < in.w; x++) {
                g[row + from] += part[at + x];
                t->cover[row + from] += 1;
                from = from + 1 < size.w ? from + 1 : 0;
            }
        }
}

int rt_tiles_eval(rt_tiles *t, const float *pixel, rt_planes size, int64_t dy, int64_t dx,
                  double *value, float *g, rt_error *err) {
    int64_t tiles = rt_tiles_count(t, size), n = rt_planes_count(size), y, x;
    *value = 0;
    memset(g, 0, (size_t)n * sizeof *g);
    memset(t->cover, 0, (size_t)n * sizeof *t->cover);
    for (int64_t first = 0; first < tiles; first += t->most) {
        t->p.n = tiles - first < t->most ? tiles - first : t->most;
        for (int64_t i = 0; i < t->p.n; i++) {
            corner(t, size, first + i, &y, &x);
            cut(t, pixel, size, y + dy, x + dx, t->p.x + i * t->p.count);
        }
        if (rt_paint_eval(&t->p, 1, err))
            return err->code;
        for (int64_t i = 0; i < t->p.n; i++) {
            corner(t, size, first + i, &y, &x);
            add(t, t->p.g + i * t->p.count, size, y + dy, x + dx, g);
            *value += t->p.value[i];
        }
    }
    for (int64_t i = 0; i < n; i++)
        g[i] = t->cover[i] > 1 ? g[i] / t->cover[i] : g[i];
    return NETRT_OK;
}
