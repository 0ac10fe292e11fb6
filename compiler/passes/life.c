/* life.c: lifetimes of stored values over a kernel order; shared by schedule and memplan.
 *
 * requires: layout (sizes); kernels of one section are neighbours in the order given.
 * ensures: what graph_verify later checks by running the plan: results live from their kernel to
 * their last reader; kept ones to the end of the program, or, inside a projection, to the end of
 * its entry; what one section makes and a later one reads stays to the end of the program, because
 * later entries run many times and in any order; seeds live from the start of their entry.
 * A result may take the place of an operand that dies in its kernel: see kernel_overwrites.
 */
#include <string.h>

#include "ir/op.h"
#include "passes/pass.h"

bool is_look(const Graph *g) {
    for (ValueId v = 1; v < g->nvalue; v++)
        if (graph_v(g, v)->kind == VK_SEED)
            return true;
    return g->name && strcmp(g->name, "look") == 0;
}

bool has_sections(const Graph *g) {
    return is_look(g) || (g->name && strcmp(g->name, "forward") == 0);
}

int kernel_section(const Graph *g, const uint8_t *sections, const Kernel *k) {
    const Node *n = graph_n(g, k->anchor);
    for (int i = 0; i < n->nout; i++)
        if (n->out[i])
            return sections[n->out[i]];
    return SECTION_RECORD;
}

enum { SECTION_LIMIT = SECTION_PROJECT + 4 };

typedef struct Scan {
    const Graph *g;
    int *position;                                 /* per kernel */
    int *section;                                  /* per kernel */
    int first[SECTION_LIMIT], last[SECTION_LIMIT]; /* positions, -1 if the section is empty */
} Scan;

static Scan scan_new(const Graph *g, const int *order, Arena *tmp) {
    Scan s = {.g = g};
    bool split = has_sections(g);
    const uint8_t *sections = graph_sections(g, tmp);
    s.position = ARENA_ARRAY(tmp, g->nkernels, int);
    s.section = ARENA_ARRAY(tmp, g->nkernels, int);
    for (int i = 0; i < SECTION_LIMIT; i++)
        s.first[i] = s.last[i] = -1;
    for (int p = 0; p < g->nkernels; p++) {
        int k = order ? order[p] : p;
        int in = split ? kernel_section(g, sections, &g->kernels[k]) : SECTION_RECORD;
        s.position[k] = p;
        s.section[k] = in;
        s.last[in] = p;
        if (s.first[in] < 0)
            s.first[in] = p;
    }
    return s;
}

static Life life_of(const Scan *s, const UseTable *uses, ValueId v) {
    const Graph *g = s->g;
    const Value *x = graph_v(g, v);
    int end = g->nkernels - 1, section;
    Life l = {.value = v,
              .bytes = x->bytes,
              .pool = x->batched ? POOL_ACT : POOL_FIX,
              .lasting = x->keep};
    if (x->kind == VK_SEED) {
        section = SECTION_PROJECT + x->slot;
        l.from = l.to = s->first[section] < 0 ? 0 : s->first[section];
    } else {
        int k = (int)graph_n(g, x->def)->kernel - 1;
        section = s->section[k];
        l.from = l.to = s->position[k];
    }
    for (uint32_t u = uses->first[v]; u < uses->first[v + 1]; u++) {
        int k = (int)graph_n(g, uses->user[u])->kernel - 1;
        int to = s->section[k] == section ? s->position[k] : end;
        l.lasting |= s->section[k] != section;
        l.to = to > l.to ? to : l.to;
    }
    if (x->keep) {
        int to = section >= SECTION_PROJECT && s->last[section] >= 0 ? s->last[section] : end;
        l.to = to > l.to ? to : l.to;
    }
    return l;
}

Life *find_lives(const Graph *g, const int *order, Arena *tmp, int *count) {
    Scan s = scan_new(g, order, tmp);
    UseTable uses = graph_use_table(g, tmp);
    Life *lives = ARENA_ARRAY(tmp, g->nvalue, Life);
    int n = 0;
    for (ValueId v = 1; v < g->nvalue; v++) {
        const Value *x = graph_v(g, v);
        if (x->same_as || !x->stored || (x->kind != VK_RESULT && x->kind != VK_SEED) ||
            is_update(g, v))
            continue;
        lives[n++] = life_of(&s, &uses, v);
    }
    *count = n;
    return lives;
}

/* ---- in place ---- */

static bool same_place(const Value *a, const Value *b) {
    const Layout *x = &a->layout, *y = &b->layout;
    return a->bytes == b->bytes && a->dtype == b->dtype && a->batched == b->batched &&
           x->kind == y->kind && x->block == y->block && x->o_tile == y->o_tile &&
           x->i_block == y->i_block && x->transposed == y->transposed && x->groups == y->groups &&
           memcmp(x->halo, y->halo, sizeof x->halo) == 0 && shape_equal(&a->shape, &b->shape);
}

static bool reads(const Node *n, ValueId v) {
    for (int i = 0; i < n->nin; i++)
        if (n->in[i] == v)
            return true;
    return false;
}

/* These compute each element once and hand it to the chain, whose operands they do not touch. */
static bool gathers_once(int op) {
    return op == OP_CONV2D || op == OP_CONV2D_BWD_DATA || op == OP_DENSE || op == OP_DENSE_BWD_DATA;
}

int kernel_overwrites(const Graph *g, const Kernel *k, ValueId *out, ValueId *in, int cap) {
    const Node *anchor = graph_n(g, k->anchor);
    bool map = op_is(anchor->op, OPF_E);
    enum { MOST = 64 };
    ValueId all[MOST];
    int n = 0;
    *out = 0;
    if (k->tail || k->update || k->nsource || !(map || (gathers_once(anchor->op) && k->nchain > 0)))
        return 0;
    for (int i = map ? 0 : 1; i < 1 + k->nchain; i++)
        if (!op_is(graph_n(g, i ? k->chain[i - 1] : k->anchor)->op, OPF_I))
            return 0;
    ValueId last = graph_n(g, k->nchain ? k->chain[k->nchain - 1] : k->anchor)->out[0];
    if (!graph_v(g, last)->stored)
        return 0;
    *out = last;
    int count = kernel_inputs(g, k, all, MOST);
    for (int i = 0; i < count && i < MOST; i++) {
        if ((!map && reads(anchor, all[i])) || !same_place(graph_v(g, all[i]), graph_v(g, last)))
            continue;
        if (n < cap)
            in[n] = all[i];
        n++;
    }
    return n;
}

void share_lives(const Graph *g, const int *order, const Life *lives, int n, int *shares,
                 Arena *tmp) {
    int *life_of = ARENA_ARRAY(tmp, g->nvalue, int); /* 1 + index */
    for (int i = 0; i < n; i++) {
        life_of[lives[i].value] = i + 1;
        shares[i] = i;
    }
    for (int p = 0; p < g->nkernels; p++) {
        ValueId in[64], out;
        int count = kernel_overwrites(g, &g->kernels[order ? order[p] : p], &out, in, 64);
        for (int i = 0; i < count && i < 64 && life_of[out]; i++) {
            int dying = life_of[in[i]] - 1;
            if (dying < 0 || lives[dying].to != p || lives[dying].lasting)
                continue;
            shares[life_of[out] - 1] = dying;
            break;
        }
    }
}
