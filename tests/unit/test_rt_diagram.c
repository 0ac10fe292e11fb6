/* test_rt_diagram.c: the drawing of a network: cards and folded blocks of small tables of layers, where
 * lanes put a module of four branches, that nothing overlaps in random graphs, and the SVG's text.
 */
#include <math.h>

#include "rt_alloc.h"
#include "rt_cards.h"
#include "rt_diagram.h"
#include "suite.h"

enum { LAYERS = 400, INPUTS = 6 };

/* A table of layers under construction. */
typedef struct Net {
    rt_layer layer[LAYERS];
    int32_t in[LAYERS][INPUTS];
    rt_input_spec input[2];
    rt_model m;
} Net;

static Net net;

static void begin(int inputs) {
    memset(&net, 0, sizeof net);
    net.input[0] = (rt_input_spec){.name = "left", .c = 3, .h = 8, .w = 8};
    net.input[1] = (rt_input_spec){.name = "right", .c = 1, .h = 8, .w = 8};
    net.m.name = "Net";
    net.m.input = net.input;
    net.m.ninputs = inputs;
    net.m.layer = net.layer;
}

static int add(const char *label, const char *op, int maps, int a, int b) {
    int i = net.m.nlayers++, weighs = strcmp(op, "conv") == 0;
    net.in[i][0] = a;
    net.in[i][1] = b;
    net.layer[i] = (rt_layer){label, op, op, {maps, 8, 8}, 3, b == INT32_MIN ? 1 : 2, net.in[i],
                              weighs ? 9 * maps : 0, weighs ? 1e3 : 0, 3, 1};
    return i;
}
static int one(const char *label, const char *op, int a) { return add(label, op, 4, a, INT32_MIN); }

/* A residual block whose shortcut reads `from`. */
static int residual(int from) {
    int c = one("c", "conv", from), n = one("n", "bn", c), r = one("r", "relu", n);
    return add("s", "add", 4, one("d", "conv", r), from);
}

static rt_cards cards_of(int long_one) {
    rt_cards c;
    rt_error err = {0};
    CU_ASSERT_EQUAL_FATAL(rt_cards_open(&c, &net.m, long_one, &err), 0);
    return c;
}

static void cards(void) {
    begin(1);
    int x = one("first", "conv", -1);
    residual(x);
    rt_cards c = cards_of(100);
    CU_ASSERT_EQUAL_FATAL(c.n, 5); /* input, first, c with n and r, d, s */
    CU_ASSERT_EQUAL(c.card[2].first, 1);
    CU_ASSERT_EQUAL(c.card[2].last, 3);
    CU_ASSERT_EQUAL(c.next[1], 2);
    CU_ASSERT_EQUAL(c.next[2], 3);
    CU_ASSERT_EQUAL(c.next[3], -1);
    CU_ASSERT_EQUAL(c.card[0].input, 0);
    static const int want[][2] = {{0, 1}, {1, 2}, {2, 3}, {3, 4}, {1, 4}};
    CU_ASSERT_EQUAL_FATAL(c.nlinks, 5);
    for (int i = 0; i < 5; i++) {
        CU_ASSERT_EQUAL(c.link[i].from, want[i][0]);
        CU_ASSERT_EQUAL(c.link[i].to, want[i][1]);
    }
    CU_ASSERT_EQUAL(c.ngroups, 0);
    rt_cards_close(&c);
}

/* Six equal blocks, one that differs in its maps, behind it a reader of the last of the six. */
static void folding(void) {
    begin(1);
    int x = one("first", "conv", -1);
    for (int i = 0; i < 6; i++)
        x = residual(x);
    int last = x, wide = add("wide", "conv", 9, x, INT32_MIN);
    add("end", "concat", 13, wide, x);
    rt_cards c = cards_of(10);
    CU_ASSERT_EQUAL_FATAL(c.n, 7); /* input, first, 3 of the block, wide, end */
    CU_ASSERT_EQUAL_FATAL(c.ngroups, 1);
    CU_ASSERT_EQUAL(c.group[0].first, 2);
    CU_ASSERT_EQUAL(c.group[0].last, 4);
    CU_ASSERT_EQUAL(c.group[0].times, 6);
    CU_ASSERT_EQUAL(c.group[0].until, last);
    static const int want[][2] = {{0, 1}, {1, 2}, {2, 3}, {3, 4}, {1, 4}, {4, 5}, {5, 6}, {4, 6}};
    CU_ASSERT_EQUAL_FATAL(c.nlinks, 8);
    for (int i = 0; i < 8; i++) {
        CU_ASSERT_EQUAL(c.link[i].from, want[i][0]);
        CU_ASSERT_EQUAL(c.link[i].to, want[i][1]);
    }
    rt_cards_close(&c);
    /* what a later layer reads from within is not folded away */
    add("skip", "concat", 17, net.m.nlayers - 1, 9);
    c = cards_of(10);
    CU_ASSERT_EQUAL(c.ngroups, 0);
    rt_cards_close(&c);
}

/* conv, pool, conv, pool, ..: blocks of two. */
static void periods(void) {
    begin(1);
    int x = -1;
    for (int i = 0; i < 8; i++)
        x = one("p", "pool", one("c", "conv", x));
    add("end", "conv", 9, x, INT32_MIN);
    rt_cards c = cards_of(4);
    CU_ASSERT_EQUAL_FATAL(c.ngroups, 1);
    CU_ASSERT_EQUAL(c.group[0].times, 8);
    CU_ASSERT_EQUAL(c.group[0].last - c.group[0].first, 1);
    CU_ASSERT_EQUAL(c.n, 4);
    rt_cards_close(&c);
}

/* ---- lanes ---- */

typedef struct Placed {
    rt_cards c;
    rt_lanes l;
    int column[LAYERS + 2];
    double y[LAYERS + 2];
} Placed;

static void place(Placed *p) {
    rt_error err = {0};
    p->c = cards_of(100000);
    p->l = (rt_lanes){.n = p->c.n, .ninputs = net.m.ninputs, .nlinks = p->c.nlinks,
                      .link = p->c.link, .height = 40, .gap = 10, .column = p->column, .y = p->y};
    CU_ASSERT_EQUAL_FATAL(rt_lanes_place(&p->l, &err), 0);
}

static void unplace(Placed *p) {
    rt_lanes_free(&p->l);
    rt_cards_close(&p->c);
}

/* Four branches in the order of the concat; the first of the longest is the trunk. */
static void module(void) {
    static Placed p;
    begin(1);
    int a = one("b1", "conv", -1), r3 = one("r3", "conv", -1), b3 = one("b3", "conv", r3);
    int r5 = one("r5", "conv", -1), b5 = one("b5", "conv", r5), bp = one("bp", "pool", -1);
    int q = one("q", "conv", bp), all = add("all", "concat", 16, a, b3);
    net.layer[all].nin = 4;
    net.in[all][2] = b5;
    net.in[all][3] = q;
    place(&p);
    static const int column[] = {0, 1, 1, 2, 1, 2, 1, 2, 3};
    static const double y[] = {0, -50, 0, 0, 50, 50, 100, 100, 0};
    CU_ASSERT_EQUAL_FATAL(p.l.n, 9);
    for (int i = 0; i < 9; i++) {
        CU_ASSERT_EQUAL(p.column[i], column[i]);
        CU_ASSERT_DOUBLE_EQUAL(p.y[i], y[i], 1e-9);
    }
    CU_ASSERT_EQUAL(p.l.columns, 4);
    CU_ASSERT_DOUBLE_EQUAL(p.l.up[1], 70, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(p.l.down[1], 120, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(p.l.up[3], 20, 1e-9);
    unplace(&p);
}

/* A shortcut passes above the block, 2 for half of the line and 10 for the gap. */
static void shortcut(void) {
    static Placed p;
    begin(2);
    int x = residual(-1);
    add("both", "concat", 5, x, -2);
    place(&p);
    for (int i = 0; i < p.c.nlinks; i++) {
        const rt_link *k = &p.c.link[i];
        if (k->from == 0 && p.column[k->to] == 3)
            CU_ASSERT_DOUBLE_EQUAL(k->y, -32, 1e-9);
        if (k->from == 1)
            CU_ASSERT_DOUBLE_EQUAL(k->y, 50, 1e-9); /* the second input's lane, below */
    }
    CU_ASSERT_EQUAL(p.column[1], 0);
    CU_ASSERT_DOUBLE_EQUAL(p.y[1], 50, 1e-9);
    CU_ASSERT_DOUBLE_EQUAL(p.y[p.l.n - 1], 0, 0);
    unplace(&p);
}

static unsigned state = 7;
static int dice(int n) {
    state = state * 1664525u + 1013904223u;
    return (int)((state >> 8) % (unsigned)n);
}

static void random_net(int layers) {
    begin(1 + dice(2));
    for (int i = 0; i < layers; i++) {
        int back = dice(4) ? 3 : 30, a = i - 1 - dice(back), b = i - 1 - dice(back);
        a = a < -net.m.ninputs ? -1 : a;
        b = b < -net.m.ninputs || dice(3) == 0 ? INT32_MIN : b;
        static const char *const op[] = {"conv", "add", "concat", "pool"};
        add("x", op[dice(4)], 1 + dice(9), a, b == a ? INT32_MIN : b);
        if (dice(12) == 0)
            net.layer[i].nin = 0; /* made of parameters alone */
    }
}

/* In any graph: arrows go to the right, boxes of a column lie apart, links pass between boxes. */
static void nothing_overlaps(void) {
    static Placed p;
    for (int round = 0; round < 60; round++) {
        random_net(3 + dice(60));
        place(&p);
        int bad = 0;
        for (int i = 0; i < p.l.n; i++)
            for (int k = 0; k < i; k++)
                bad += p.column[i] == p.column[k] && fabs(p.y[i] - p.y[k]) < 50 - 1e-9;
        for (int i = 0; i < p.c.nlinks; i++) {
            const rt_link *k = &p.c.link[i];
            bad += p.column[k->from] >= p.column[k->to];
            for (int v = 0; v < p.l.n; v++)
                bad += p.column[v] > p.column[k->from] && p.column[v] < p.column[k->to] &&
                       fabs(k->y - p.y[v]) < 20 + 10 - 1e-9;
        }
        for (int v = 0; v < p.l.n; v++)
            bad += p.y[v] - 20 < -p.l.up[p.column[v]] - 1e-9 ||
                   p.y[v] + 20 > p.l.down[p.column[v]] + 1e-9;
        CU_ASSERT_EQUAL(bad, 0);
        if (bad)
            printf("\nround %d: %d\n", round, bad);
        unplace(&p);
    }
}

/* ---- text ---- */

static int count(const char *text, const char *word) {
    int n = 0;
    for (; (text = strstr(text, word)); text++)
        n++;
    return n;
}

static void svg(void) {
    rt_error err = {0};
    rt_text o = {0}, again = {0}, part = {0};
    begin(1);
    int x = one("a<b", "conv", -1);
    for (int i = 0; i < 40; i++)
        x = residual(x);
    CU_ASSERT_EQUAL_FATAL(rt_diagram(&o, &net.m, 1, &err), 0);
    CU_ASSERT_EQUAL(count(o.data, "<g"), 5);
    CU_ASSERT_EQUAL(count(o.data, "class=\"w\""), 5);
    CU_ASSERT_EQUAL(count(o.data, "class=\"t\""), 4);
    CU_ASSERT_EQUAL(count(o.data, "40 times, to s"), 1);
    CU_ASSERT_EQUAL(count(o.data, "a<b"), 0);
    CU_ASSERT_EQUAL(count(o.data, "data-layer=\"a&lt;b\""), 1);
    CU_ASSERT_EQUAL(count(o.data, "data-layer=\"c n r\""), 1);
    CU_ASSERT_EQUAL(count(o.data, "a&lt;b"), 3); /* and the title, and what is read */
    CU_ASSERT_EQUAL(count(o.data, "xmlns="), 1);
    CU_ASSERT_EQUAL(rt_diagram(&again, &net.m, 1, &err), 0);
    CU_ASSERT_STRING_EQUAL(o.data, again.data);
    CU_ASSERT_EQUAL(rt_diagram(&part, &net.m, 0, &err), 0);
    CU_ASSERT_EQUAL(count(part.data, "xmlns="), 0);
    rt_text_free(&o);
    rt_text_free(&again);
    rt_text_free(&part);
}

/* Memory that runs out anywhere is an error, nothing more. */
static void no_memory(void) {
    int failed = 0;
    random_net(40);
    for (int64_t nth = 1;; nth++) {
        rt_error err = {0};
        rt_text o = {0};
        size_t live = rt_alloc_live();
        rt_alloc_inject(nth, 0);
        int code = rt_diagram(&o, &net.m, 1, &err);
        rt_alloc_inject(0, 0);
        int whole = !code && !o.failed;
        rt_text_free(&o);
        CU_ASSERT_EQUAL(rt_alloc_live(), live);
        if (whole)
            break;
        failed++;
    }
    CU_ASSERT(failed > 10);
}

SUITE_MAIN(TEST(cards), TEST(folding), TEST(periods), TEST(module), TEST(shortcut),
           TEST(nothing_overlaps), TEST(svg), TEST(no_memory))
