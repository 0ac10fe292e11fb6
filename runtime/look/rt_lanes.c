/* rt_lanes.c: columns and heights of a drawing (rt_lanes.h).
 *
 * A lane is a path of nodes and the link with which it ends, or a single link that passes a column.
 * Each lane knows how far it and the lanes packed against it reach in every column; a lane is moved
 * away from its parent just so far that nothing touches.
 */
#include "rt_lanes.h"

#include <stdlib.h>
#include <string.h>

#include "rt_alloc.h"

#define NOTHING (-1e9)
enum { WIRE = 2 }; /* half of what a link takes */

typedef struct Lane {
    int head;        /* first node, -1: a link alone */
    int from, to;    /* columns */
    int join;        /* the link with which it ends, -1: it ends in nothing */
    int parent, above;
    double y;        /* from the parent's middle, later from the trunk's */
    double *up;      /* per column, then the same below */
} Lane;

typedef struct Place {
    rt_lanes *l;
    int *first;      /* n + 1: where a node's links begin */
    int *out, *outs; /* links by their start, n + 1 places where they begin */
    int *rest;       /* nodes on the longest path to an end */
    int *lane, *next; /* per node: its lane, the node after it there */
    int *by;         /* per link: the lane that carries it, -1: it passes no column */
    Lane *at;
    int lanes;
} Place;

/* ---- the graph ---- */

static int open_place(Place *p, rt_error *err) {
    rt_lanes *l = p->l;
    size_t n = (size_t)l->n + 1, links = (size_t)l->nlinks + 1;
    int *room = rt_alloc_zero(5 * n + 2 * links, sizeof *room, "drawing", err);
    p->at = rt_alloc_zero(n + links, sizeof *p->at, "drawing", err);
    if (!room || !p->at) {
        rt_free(room);
        return err->code;
    }
    p->first = room;
    p->outs = room + n;
    p->rest = room + 2 * n;
    p->lane = room + 3 * n;
    p->next = room + 4 * n;
    p->out = room + 5 * n;
    p->by = p->out + links;
    for (int i = 0; i < l->nlinks; i++) {
        p->first[l->link[i].to + 1]++;
        p->outs[l->link[i].from + 1]++;
    }
    for (int v = 0; v < l->n; v++) {
        p->first[v + 1] += p->first[v];
        p->outs[v + 1] += p->outs[v];
        p->lane[v] = p->next[v] = -1;
    }
    for (int i = 0; i < l->nlinks; i++) {
        int u = l->link[i].from;
        p->out[p->outs[u] + p->rest[u]++] = i;
        p->by[i] = -1;
    }
    memset(p->rest, 0, n * sizeof *p->rest);
    for (int i = l->nlinks; i-- > 0;) {
        int u = l->link[i].from, more = p->rest[l->link[i].to] + 1;
        p->rest[u] = more > p->rest[u] ? more : p->rest[u];
    }
    return NETRT_OK;
}

static void close_place(Place *p) {
    for (int k = 0; p->at && k < p->lanes; k++)
        rt_free(p->at[k].up);
    rt_free(p->first);
    rt_free(p->at);
}

/* What depends on an input stands behind all that it reads, the rest (what is made of parameters)
 * just before its first reader.  lane[v] is 0 for the former meanwhile. */
static void find_columns(Place *p) {
    rt_lanes *l = p->l;
    int least = 0, most = 0;
    for (int v = 0; v < l->n; v++) {
        l->column[v] = 0;
        p->lane[v] = v < l->ninputs ? 0 : -1;
        for (int i = p->first[v]; i < p->first[v + 1]; i++) {
            int u = l->link[i].from;
            if (p->lane[u] == 0 && l->column[u] + 1 > l->column[v])
                l->column[v] = l->column[u] + 1;
            if (p->lane[u] == 0)
                p->lane[v] = 0;
        }
    }
    for (int v = l->n; v-- > 0;)
        if (p->lane[v] < 0 && p->outs[v] < p->outs[v + 1]) {
            l->column[v] = l->column[l->link[p->out[p->outs[v]]].to] - 1;
            for (int k = p->outs[v]; k < p->outs[v + 1]; k++) {
                int before = l->column[l->link[p->out[k]].to] - 1;
                l->column[v] = before < l->column[v] ? before : l->column[v];
            }
        }
    for (int v = 0; v < l->n; v++)
        least = l->column[v] < least ? l->column[v] : least;
    for (int v = 0; v < l->n; v++) {
        l->column[v] -= least;
        most = l->column[v] > most ? l->column[v] : most;
        p->lane[v] = -1;
    }
    l->columns = most + 1;
}

/* ---- lanes ---- */

static Lane *add_lane(Place *p, int head, int from, int to) {
    Lane *k = &p->at[p->lanes++];
    *k = (Lane){.head = head, .from = from, .to = to, .join = -1, .parent = -1};
    return k;
}

static int link_of(const Place *p, int from, int to) {
    for (int i = p->first[to]; i < p->first[to + 1]; i++)
        if (p->l->link[i].from == from)
            return i;
    return -1;
}

/* The longest path, from its end: lane 0. */
static void add_trunk(Place *p) {
    const rt_lanes *l = p->l;
    int v = 0, u;
    for (int i = 1; i < l->n; i++)
        v = l->column[i] > l->column[v] ? i : v;
    Lane *k = add_lane(p, v, 0, l->column[v]);
    for (;; v = u) {
        p->lane[v] = 0;
        k->head = v;
        k->from = l->column[v];
        u = -1;
        for (int i = p->first[v]; i < p->first[v + 1] && u < 0; i++)
            if (l->column[l->link[i].from] == l->column[v] - 1)
                u = l->link[i].from;
        if (u < 0)
            return;
        p->next[u] = v;
        p->by[link_of(p, u, v)] = 0;
    }
}

/* The path from v over nodes that have no lane, always to where most follows. */
static void add_path(Place *p, int v) {
    const rt_lanes *l = p->l;
    int own = p->lanes, from = -1;
    Lane *k = add_lane(p, v, l->column[v], l->column[v]);
    for (int i = p->first[v]; i < p->first[v + 1] && from < 0; i++)
        from = l->link[i].from;
    for (int best = v; best >= 0; v = best >= 0 ? best : v) {
        int chosen = -1;
        p->lane[v] = own;
        best = -1;
        for (int i = p->outs[v]; i < p->outs[v + 1]; i++) {
            int w = l->link[p->out[i]].to;
            if (p->lane[w] < 0 && (best < 0 || p->rest[w] > p->rest[best])) {
                best = w;
                chosen = p->out[i];
            }
        }
        p->next[v] = best;
        if (best >= 0)
            p->by[chosen] = own;
    }
    k->to = l->column[v];
    if (p->outs[v] < p->outs[v + 1]) {
        k->join = p->out[p->outs[v]];
        p->by[k->join] = own;
        k->to = l->column[l->link[k->join].to] - 1;
    }
    k->parent = k->join >= 0 ? p->lane[l->link[k->join].to] : from >= 0 ? p->lane[from] : 0;
}

/* Above the path that it joins: what is an earlier input there, or as good as it. */
static void choose_side(const Place *p, Lane *k) {
    const rt_link *link = p->l->link;
    if (k->join < 0)
        return;
    int to = link[k->join].to, own = -1;
    for (int i = p->first[to]; i < p->first[to + 1]; i++)
        if (p->by[i] == p->lane[to])
            own = i;
    k->above = own >= 0 && link[k->join].order <= link[own].order;
}

static void add_lanes(Place *p) {
    const rt_lanes *l = p->l;
    add_trunk(p);
    for (int v = 0; v < l->n; v++)
        if (p->lane[v] < 0)
            add_path(p, v);
    for (int i = 0; i < l->nlinks; i++) {
        int from = l->column[l->link[i].from] + 1, to = l->column[l->link[i].to] - 1;
        if (p->by[i] >= 0 || from > to)
            continue;
        p->by[i] = p->lanes;
        Lane *k = add_lane(p, -1, from, to);
        k->join = i;
        k->parent = p->lane[l->link[i].to];
    }
    for (int k = 1; k < p->lanes; k++)
        choose_side(p, &p->at[k]);
}

/* ---- heights ---- */

static int own_extent(Place *p, Lane *k, rt_error *err) {
    int columns = p->l->columns;
    k->up = rt_alloc((size_t)columns, 2 * sizeof *k->up, "drawing", err);
    if (!k->up)
        return err->code;
    for (int c = 0; c < columns; c++)
        k->up[c] = k->up[columns + c] = c >= k->from && c <= k->to ? (double)WIRE : NOTHING;
    for (int v = k->head; v >= 0; v = p->next[v])
        k->up[p->l->column[v]] = k->up[columns + p->l->column[v]] = p->l->height / 2;
    return NETRT_OK;
}

/* Moves child k away from its parent until nothing touches. */
static void pack(Place *p, Lane *k) {
    Lane *parent = &p->at[k->parent];
    int columns = p->l->columns, near = k->above ? 0 : columns, far = columns - near;
    double d = p->l->gap;
    for (int c = 0; c < columns; c++) {
        double need = parent->up[near + c] + k->up[far + c] + p->l->gap;
        d = need > d ? need : d;
    }
    for (int c = 0; c < columns; c++) {
        double outer = d + k->up[near + c], inner = k->up[far + c] - d;
        if (outer > parent->up[near + c])
            parent->up[near + c] = outer;
        if (inner > parent->up[far + c])
            parent->up[far + c] = inner;
    }
    k->y = k->above ? -d : d;
}

typedef struct Child {
    int lane, length, order;
} Child;

static int nearer(const void *a, const void *b) {
    const Child *x = a, *y = b;
    if (x->length != y->length)
        return x->length < y->length ? -1 : 1;
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return (x->lane > y->lane) - (x->lane < y->lane);
}

static int find_heights(Place *p, rt_error *err) {
    Child *child = rt_alloc((size_t)p->lanes, sizeof *child, "drawing", err);
    for (int own = p->lanes; child && own-- > 0;) { /* children come behind their parents */
        int n = 0;
        if (own_extent(p, &p->at[own], err))
            break;
        for (int i = own + 1; i < p->lanes; i++) {
            const Lane *k = &p->at[i];
            int order = k->join >= 0 ? p->l->link[k->join].order : 0;
            if (k->parent == own)
                child[n++] = (Child){i, k->to - k->from, k->above ? -order : order};
        }
        qsort(child, (size_t)n, sizeof *child, nearer);
        for (int i = 0; i < n; i++) {
            pack(p, &p->at[child[i].lane]);
            rt_free(p->at[child[i].lane].up);
            p->at[child[i].lane].up = NULL;
        }
    }
    for (int k = 1; k < p->lanes; k++)
        p->at[k].y += p->at[p->at[k].parent].y;
    rt_free(child);
    return err->code;
}

int rt_lanes_place(rt_lanes *l, rt_error *err) {
    Place p = {.l = l};
    if (l->n < 1)
        return NETRT_OK;
    if (open_place(&p, err) == 0) {
        find_columns(&p);
        add_lanes(&p);
        find_heights(&p, err);
    }
    if (!err->code) {
        for (int v = 0; v < l->n; v++)
            l->y[v] = p.at[p.lane[v]].y;
        for (int i = 0; i < l->nlinks; i++)
            l->link[i].y = p.by[i] >= 0 ? p.at[p.by[i]].y : 0;
        l->up = p.at[0].up;
        l->down = l->up + l->columns;
        p.at[0].up = NULL;
    }
    close_place(&p);
    return err->code;
}

void rt_lanes_free(rt_lanes *l) {
    rt_free(l->up);
    l->up = l->down = NULL;
}
