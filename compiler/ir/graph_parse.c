/* graph_parse.c: reads the text that graph_print writes; every dump is an input of `--run-pass`.
 *
 * requires: nothing of the text; it may be anything.
 * ensures: either a graph whose handles, order, kernels and numbers are those of the text, or NULL
 * and one line of explanation.  Whether the graph makes sense is graph_verify's business.
 * representation: a hand-written scanner on the text itself; ids of values may have gaps.
 */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/map.h"
#include "base/str.h"
#include "ir/plan.h"
#include "ir/text.h"
#include "ops/attrs.h"

enum { PARSE_MAX_ID = 1 << 20, PARSE_MAX_INPUTS = 255 };

typedef struct Reader {
    Arena *keep;
    const char *at;
    int line;
    Graph *g;
    Map names;    /* "c1.weight" -> Value number of a parameter or state */
    Kernel *open; /* the kernel whose braces we are in */
    int sources;  /* its first nodes that make the anchor's source */
    uint32_t cap_order;
    int cap_kernels;
    jmp_buf fail;
    const char *error;
} Reader;

static _Noreturn void fail(Reader *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static _Noreturn void fail(Reader *r, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const char *text = arena_vprintf(r->keep, format, args);
    va_end(args);
    r->error = arena_printf(r->keep, "line %d: %s", r->line, text);
    longjmp(r->fail, 1);
}

/* ---- scanner ---- */

static void blanks(Reader *r) {
    while (*r->at == ' ' || *r->at == '\t')
        r->at++;
}

static bool accept(Reader *r, const char *text) {
    blanks(r);
    size_t n = strlen(text);
    if (strncmp(r->at, text, n) != 0)
        return false;
    if (isalnum((unsigned char)text[n - 1]) &&
        (isalnum((unsigned char)r->at[n]) || r->at[n] == '_'))
        return false; /* only a prefix of a longer word */
    r->at += n;
    return true;
}

static void expect(Reader *r, const char *text) {
    if (!accept(r, text))
        fail(r, "expected '%s' before '%.20s'", text, r->at);
}

static void newline(Reader *r) {
    blanks(r);
    if (*r->at == ';')
        r->at += strcspn(r->at, "\n");
    if (*r->at == '\r')
        r->at++;
    if (*r->at == '\n') {
        r->at++;
        r->line++;
    } else if (*r->at) {
        fail(r, "unexpected '%.20s'", r->at);
    }
}

static int64_t integer(Reader *r) {
    char *end;
    blanks(r);
    if (!isdigit((unsigned char)*r->at) && *r->at != '-')
        fail(r, "expected a number before '%.20s'", r->at);
    long long x = strtoll(r->at, &end, 10);
    if (end == r->at || x > LIMIT_ELEMENTS * 8 || x < -LIMIT_ELEMENTS)
        fail(r, "number out of range");
    r->at = end;
    return x;
}

static int small(Reader *r, int64_t max) {
    int64_t x = integer(r);
    if (x < 0 || x > max)
        fail(r, "%lld is not between 0 and %lld", (long long)x, (long long)max);
    return (int)x;
}

static double real(Reader *r) {
    char *end;
    blanks(r);
    if (*r->at == '\n')
        fail(r, "expected a number");
    double x = strtod(r->at, &end);
    if (end == r->at)
        fail(r, "expected a number before '%.20s'", r->at);
    r->at = end;
    return x;
}

static const char *word(Reader *r, size_t *n) {
    blanks(r);
    const char *from = r->at;
    while (isalnum((unsigned char)*r->at) || *r->at == '_')
        r->at++;
    *n = (size_t)(r->at - from);
    if (*n == 0)
        fail(r, "expected a word before '%.20s'", from);
    return from;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char *quoted(Reader *r) {
    StrBuf b = sb_new(r->keep);
    expect(r, "\"");
    for (; *r->at != '"'; r->at++) {
        char c = *r->at;
        if (c == 0 || c == '\n')
            fail(r, "string without end");
        if (c == '\\') {
            c = *++r->at;
            if (c == 'x') {
                int hi = hex_digit(r->at[1]), lo = hi < 0 ? -1 : hex_digit(r->at[2]);
                if (lo < 0 || hi * 16 + lo == 0)
                    fail(r, "bad escape in a string");
                c = (char)(hi * 16 + lo);
                r->at += 2;
            } else if (c != '"' && c != '\\') {
                fail(r, "bad escape in a string");
            }
        }
        sb_putc(&b, c);
    }
    r->at++;
    return b.text;
}

static Shape shape(Reader *r) {
    Shape s = {0, {0}};
    expect(r, "[");
    while (!accept(r, "]")) {
        if (s.rank == SHAPE_MAX_RANK)
            fail(r, "more than %d extents", SHAPE_MAX_RANK);
        if (s.rank)
            expect(r, ",");
        s.dim[s.rank] = integer(r);
        if (s.dim[s.rank] < 1 || s.dim[s.rank] > LIMIT_DIM)
            fail(r, "extent out of range");
        s.rank++;
    }
    int64_t elems = shape_elems(&s);
    if (elems < 0 || elems > LIMIT_ELEMENTS)
        fail(r, "tensor too large");
    return s;
}

static int lettered(Reader *r, char letter) { /* o32 */
    blanks(r);
    if (*r->at != letter)
        fail(r, "expected '%c' before '%.20s'", letter, r->at);
    r->at++;
    return small(r, 1 << 24);
}

static Layout layout(Reader *r) { /* after '<' */
    Layout l = {.kind = LAYOUT_PLAIN};
    if (accept(r, "blocked")) {
        l.kind = LAYOUT_BLOCKED;
        l.block = small(r, 4096);
    } else if (accept(r, "weights")) {
        l.kind = LAYOUT_WEIGHTS;
        l.transposed = accept(r, "^T");
        l.o_tile = lettered(r, 'o');
        l.i_block = lettered(r, 'i');
        l.groups = lettered(r, 'g');
        if (!l.o_tile || !l.i_block || !l.groups)
            fail(r, "a tile of nothing");
    } else {
        expect(r, "plain");
    }
    if (accept(r, "halo"))
        for (int i = 0; i < 4; i++) {
            if (i)
                expect(r, ",");
            l.halo[i] = small(r, 65535);
        }
    expect(r, ">");
    return l;
}

/* ---- values ---- */

static ValueId value_id(Reader *r) {
    expect(r, "%");
    int id = small(r, PARSE_MAX_ID);
    if (id == 0)
        fail(r, "%%0 is no value");
    return (ValueId)id;
}

/* The value table is indexed by the printed numbers. */
static Value *define(Reader *r, ValueId id, ValueKind kind) {
    Graph *g = r->g;
    if (id >= g->cap_value) {
        uint32_t cap = g->cap_value;
        while (cap <= id)
            cap *= 2;
        Value *bigger = ARENA_ARRAY(r->keep, cap, Value);
        memcpy(bigger, g->value, g->nvalue * sizeof(Value));
        g->value = bigger;
        g->cap_value = cap;
    }
    if (id >= g->nvalue)
        g->nvalue = id + 1;
    Value *v = graph_v(g, id);
    if (v->kind != VK_NONE)
        fail(r, "%%%u is defined twice", id);
    v->kind = kind;
    return v;
}

static bool pool(Reader *r, Value *v) {
    static const char *const name[] = {"none@", "act@", "fix@", "param@", "state@"};
    for (int p = 0; p < 5; p++)
        if (accept(r, name[p])) {
            v->pool = (PoolKind)p;
            v->offset = integer(r);
            expect(r, ":");
            v->bytes = integer(r);
            return true;
        }
    return false;
}

static void type(Reader *r, Value *v) {
    if (accept(r, "f32"))
        v->dtype = DT_F32;
    else if (accept(r, "i32"))
        v->dtype = DT_I32;
    else {
        expect(r, "u8");
        v->dtype = DT_U8;
    }
    v->shape = shape(r);
    for (;;) {
        blanks(r);
        if (*r->at == '"')
            v->name = quoted(r);
        else if (accept(r, "n")) {
            v->batched = true;
            if (accept(r, "*"))
                v->shape = shape_clip(v->shape, small(r, 1 << 24));
        }
        else if (accept(r, "keep"))
            v->keep = true;
        else if (accept(r, "stored"))
            v->stored = true;
        else if (accept(r, "<"))
            v->layout = layout(r);
        else if (!pool(r, v))
            return;
    }
}

static ValueId reference(Reader *r) {
    ValueId id;
    blanks(r);
    if (*r->at == '@') {
        const char *from = ++r->at;
        while (isalnum((unsigned char)*r->at) || (*r->at && strchr("._-[]/", *r->at)))
            r->at++;
        const char *name = arena_strndup(r->keep, from, (size_t)(r->at - from));
        id = (ValueId)(uintptr_t)map_get(&r->names, name);
        if (!id)
            fail(r, "no parameter is called '%s'", name);
        return id;
    }
    id = value_id(r);
    if (id >= r->g->nvalue || graph_v(r->g, id)->kind == VK_NONE)
        fail(r, "%%%u is used before its definition", id);
    return id;
}

static bool source(Reader *r, ValueId id) {
    static const struct {
        const char *word;
        ValueKind kind;
    } kinds[] = {{"input", VK_INPUT},
                 {"label", VK_LABEL},
                 {"param", VK_PARAM},
                 {"state", VK_STATE},
                 {"seed", VK_SEED}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!accept(r, kinds[i].word))
            continue;
        Value *v = define(r, id, kinds[i].kind);
        v->slot = small(r, PARSE_MAX_ID);
        v->stored = v->kind == VK_SEED;
        if ((v->kind == VK_PARAM || v->kind == VK_STATE) && v->slot >= r->g->params->count)
            fail(r, "there is no parameter %d", v->slot);
        expect(r, ":");
        type(r, v);
        if (v->name && (v->kind == VK_PARAM || v->kind == VK_STATE))
            map_put(&r->names, v->name, (void *)(uintptr_t)id);
        return true;
    }
    return false;
}

/* ---- attributes ---- */

size_t attr_bytes(AttrType t) {
    switch (t) {
    case AT_INT:
        return sizeof(int64_t);
    case AT_BOOL:
        return sizeof(bool);
    case AT_FLOAT:
        return sizeof(double);
    case AT_EXTENT:
        return 2 * sizeof(int64_t);
    case AT_PADS:
        return 4 * sizeof(int64_t);
    case AT_ENUM:
        return sizeof(int);
    case AT_TABLE:
    case AT_STR:
        return sizeof(void *);
    }
    return 0;
}

/* Numbers separated by x or commas; returns how many, 0 if malformed. */
static int numbers(const char *text, int64_t out[4]) {
    int n = 0;
    for (;;) {
        char *end;
        if (n == 4 || (!isdigit((unsigned char)*text) && *text != '-'))
            return 0;
        out[n++] = strtoll(text, &end, 10);
        if (*end == 0)
            return n;
        if (*end != 'x' && *end != ',')
            return 0;
        text = end + 1;
    }
}

static bool read_pads(const char *text, int64_t *pad) {
    int64_t x[4];
    int n = numbers(text, x);
    if (n != 1 && n != 2 && n != 4)
        return false;
    for (int i = 0; i < 4; i++)
        pad[i] = n == 4 ? x[i] : n == 2 ? x[i / 2] : x[0];
    return true;
}

static bool read_choice(const char *choices, const char *text, int *out) {
    size_t n = strlen(text);
    int64_t x[4];
    if (!choices && numbers(text, x) == 1 && x[0] >= 0 && x[0] < 256)
        *out = (int)x[0];
    if (!choices)
        return true;
    int index = 0;
    for (const char *c = choices; c; index++) {
        if (strcspn(c, "|") == n && strncmp(c, text, n) == 0) {
            *out = index;
            return true;
        }
        c = strchr(c, '|');
        c = c ? c + 1 : NULL;
    }
    return false;
}

static bool read_table(Arena *keep, const char *text, const ConnTable **out) {
    int outputs, inputs, used = 0;
    if (strcmp(text, "none") == 0 || strcmp(text, "all") == 0) {
        *out = NULL;
        return true;
    }
    if (sscanf(text, "%7dx%7d:%n", &outputs, &inputs, &used) != 2 || used == 0 || outputs < 1 ||
        inputs < 1 || (int64_t)outputs * inputs != (int64_t)strlen(text + used))
        return false;
    ConnTable *t = ARENA_NEW(keep, ConnTable);
    uint8_t *link = ARENA_ARRAY(keep, (int64_t)outputs * inputs, uint8_t);
    for (int64_t i = 0; i < (int64_t)outputs * inputs; i++) {
        if (text[used + i] != '0' && text[used + i] != '1')
            return false;
        link[i] = text[used + i] == '1';
    }
    *t = (ConnTable){outputs, inputs, link};
    *out = t;
    return true;
}

bool attr_read(Arena *keep, const AttrDesc *d, const char *text, size_t length, void *attrs) {
    void *at = (char *)attrs + d->offset;
    const char *s = arena_strndup(keep, text, length);
    int64_t x[4];
    char *end;
    switch (d->type) {
    case AT_INT:
        if (numbers(s, x) != 1)
            return false;
        *(int64_t *)at = x[0];
        return true;
    case AT_BOOL:
        *(bool *)at = strcmp(s, "true") == 0 || strcmp(s, "yes") == 0;
        return *(bool *)at || strcmp(s, "false") == 0 || strcmp(s, "no") == 0;
    case AT_FLOAT:
        *(double *)at = strtod(s, &end);
        return end != s && *end == 0;
    case AT_EXTENT: {
        int n = numbers(s, x);
        if (n != 1 && n != 2)
            return false;
        ((int64_t *)at)[0] = x[0];
        ((int64_t *)at)[1] = x[n - 1];
        return true;
    }
    case AT_PADS:
        return read_pads(s, at);
    case AT_ENUM:
        return read_choice(d->choices, s, at);
    case AT_TABLE:
        return read_table(keep, s, at);
    case AT_STR:
        *(const char **)at = strcmp(s, "none") == 0 ? NULL : s;
        return true;
    }
    return false;
}

bool attr_default(Arena *keep, const OpDef *def, int i, void *attrs) {
    const AttrDesc *d = &def->attrs[i];
    if (!d->dflt)
        return false;
    for (int j = 0; j < i; j++)
        if (strcmp(def->attrs[j].name, d->dflt) == 0 && def->attrs[j].type == d->type) {
            memcpy((char *)attrs + d->offset, (char *)attrs + def->attrs[j].offset,
                   attr_bytes(d->type));
            return true;
        }
    return attr_read(keep, d, d->dflt, strlen(d->dflt), attrs);
}

/* The text of one attribute's value ends at a comma before a word, or at the closing brace. */
static const char *attr_text(Reader *r, const AttrDesc *d, size_t *n) {
    if (d->type == AT_STR && *r->at == '"') {
        const char *s = quoted(r);
        *n = strlen(s);
        return s;
    }
    const char *from = r->at;
    while (*r->at && *r->at != '}' && *r->at != '\n' && !(*r->at == ',' && r->at[1] == ' '))
        r->at++;
    *n = (size_t)(r->at - from);
    return from;
}

static void *attributes(Reader *r, int op) {
    const OpDef *def = op_def[op];
    if (def->attr_size == 0)
        return NULL;
    void *attrs = arena_alloc(r->keep, def->attr_size);
    bool given[64] = {false};
    if (def->nattrs > 64)
        fail(r, "%s has too many attributes", op_name[op]);
    if (accept(r, "{")) {
        do {
            blanks(r);
            const char *name = r->at;
            size_t n = strcspn(name, "= ,}\n");
            int i = 0;
            r->at += n;
            while (i < def->nattrs &&
                   (strlen(def->attrs[i].name) != n || strncmp(def->attrs[i].name, name, n) != 0))
                i++;
            if (i == def->nattrs)
                fail(r, "%s has no attribute '%.*s'", op_name[op], (int)n, name);
            expect(r, "=");
            blanks(r);
            const char *text = attr_text(r, &def->attrs[i], &n);
            if (!attr_read(r->keep, &def->attrs[i], text, n, attrs))
                fail(r, "bad value for '%s'", def->attrs[i].name);
            given[i] = true;
        } while (accept(r, ","));
        expect(r, "}");
    }
    for (int i = 0; i < def->nattrs; i++)
        if (!given[i])
            attr_default(r->keep, def, i, attrs);
    return attrs;
}

/* ---- nodes ---- */

/* Behind a weights' gradient: its update, the bias' gradient, and that one's update. */
static bool add_update(Reader *r, NodeId id, int op) {
    Kernel *k = r->open;
    const Node *n = graph_n(r->g, id);
    if (op == OP_BIAS_GRAD && !k->bias_grad)
        k->bias_grad = id;
    else if (op_is(op, OPF_X) && !k->update && n->in[1] == graph_n(r->g, k->anchor)->out[0])
        k->update = id;
    else if (op_is(op, OPF_X) && k->bias_grad && !k->bias_update &&
             n->in[1] == graph_n(r->g, k->bias_grad)->out[0])
        k->bias_update = id;
    else
        return false;
    return true;
}

static void add_to_kernel(Reader *r, NodeId id, int op) {
    Kernel *k = r->open;
    graph_n(r->g, id)->kernel = (uint32_t)r->g->nkernels;
    if (k->nsource < r->sources)
        k->source[k->nsource++] = id;
    else if (!k->anchor)
        k->anchor = id;
    else if (add_update(r, id, op))
        return;
    else if (k->tail && (!op_is(op, OPF_E) || k->nbehind == KERNEL_MAX_BEHIND))
        fail(r, "a node behind the kernel's pooling");
    else if (k->tail)
        k->behind[k->nbehind++] = id;
    else if (!op_is(op, OPF_E))
        k->tail = id;
    else if (k->nchain == KERNEL_MAX_CHAIN)
        fail(r, "a chain of more than %d nodes", KERNEL_MAX_CHAIN);
    else
        k->chain[k->nchain++] = id;
}

static NodeId append_node(Reader *r, int op) {
    Graph *g = r->g;
    if (g->nnode == PARSE_MAX_ID)
        fail(r, "too many nodes");
    if (g->nnode == g->cap_node) {
        Node *bigger = ARENA_ARRAY(r->keep, (int64_t)g->cap_node * 2, Node);
        memcpy(bigger, g->node, g->nnode * sizeof(Node));
        g->node = bigger;
        g->cap_node *= 2;
    }
    if (g->norder == r->cap_order) {
        uint32_t cap = r->cap_order ? r->cap_order * 2 : 64;
        NodeId *bigger = ARENA_ARRAY(r->keep, cap, NodeId);
        memcpy(bigger, g->order, g->norder * sizeof(NodeId));
        g->order = bigger;
        r->cap_order = cap;
    }
    NodeId id = g->nnode++;
    memset(graph_n(g, id), 0, sizeof(Node));
    graph_n(g, id)->op = (uint16_t)op;
    g->order[g->norder++] = id;
    return id;
}

static void node_inputs(Reader *r, Node *n) {
    ValueId in[PARSE_MAX_INPUTS];
    int count = 0;
    expect(r, "(");
    while (!accept(r, ")")) {
        if (count)
            expect(r, ",");
        if (count == PARSE_MAX_INPUTS)
            fail(r, "too many inputs");
        in[count++] = reference(r);
    }
    n->nin = (uint8_t)count;
    n->in = ARENA_ARRAY(r->keep, count, ValueId);
    memcpy(n->in, in, (size_t)count * sizeof(ValueId));
}

static void node(Reader *r, const ValueId *out, int nout) {
    size_t n;
    const char *name = word(r, &n);
    int op = op_find(arena_strndup(r->keep, name, n));
    if (op == OP_NONE)
        fail(r, "there is no operator '%.*s'", (int)n, name);
    NodeId id = append_node(r, op);
    Node *x = graph_n(r->g, id);
    node_inputs(r, x);
    x->attrs = attributes(r, op);
    x->nout = (uint8_t)nout;
    x->out = ARENA_ARRAY(r->keep, nout, ValueId);
    expect(r, ":");
    for (int k = 0; k < nout; k++) {
        if (k)
            expect(r, ",");
        x->out[k] = out[k];
        if (out[k] == 0) {
            expect(r, "_");
            continue;
        }
        Value *v = define(r, out[k], VK_RESULT);
        v->def = id;
        v->def_index = k;
        type(r, v);
    }
    if (accept(r, "#")) {
        blanks(r);
        size_t length = strcspn(r->at, "\r\n");
        x->label = arena_strndup(r->keep, r->at, length);
        r->at += length;
    }
    if (r->open)
        add_to_kernel(r, id, op);
}

static void definition(Reader *r) {
    ValueId out[4];
    int nout = 0;
    do {
        if (nout == 4)
            fail(r, "too many results");
        out[nout++] = accept(r, "_") ? 0 : value_id(r);
    } while (accept(r, ","));
    expect(r, "=");
    if (nout == 1 && out[0] && source(r, out[0]))
        return;
    node(r, out, nout);
}

/* ---- parameters ---- */

static void table(Reader *r, Param *p) {
    int64_t n = shape_elems(&p->shape), i = 0;
    if (n > LIMIT_FILE_BYTES)
        fail(r, "table too large");
    float *t = ARENA_ARRAY(r->keep, n, float);
    do {
        double x = real(r);
        int64_t run = 1;
        if (*r->at == '*') {
            r->at++;
            if (!(x >= 1 && x <= (double)(n - i)))
                fail(r, "table too long");
            run = (int64_t)x;
            x = real(r);
        }
        if (run > n - i)
            fail(r, "table too long");
        while (run-- > 0)
            t[i++] = (float)x;
    } while (accept(r, ","));
    if (i != n)
        fail(r, "table too short");
    p->table = t;
}

static void links(Reader *r, Param *p) {
    int64_t n = p->shape.rank >= 2 ? p->shape.dim[0] * p->shape.dim[1] : 0;
    blanks(r);
    if ((int64_t)strspn(r->at, "01") != n)
        fail(r, "links: expected %lld digits", (long long)n);
    uint8_t *l = ARENA_ARRAY(r->keep, n, uint8_t);
    for (int64_t i = 0; i < n; i++)
        l[i] = *r->at++ == '1';
    p->links = l;
}

static void initialisation(Reader *r, Param *p) {
    static const char *const rule[] = {"zero", "fill", "uniform", "gaussian", "table"};
    int i = 0;
    while (i < 5 && !accept(r, rule[i]))
        i++;
    if (i == 5)
        fail(r, "unknown initialisation");
    p->init = (InitKind)i;
    p->init_a = real(r);
    p->init_b = real(r);
}

static void param_fields(Reader *r, Param *p) {
    for (;;) {
        if (accept(r, "split"))
            p->split = shape(r);
        else if (accept(r, "init"))
            initialisation(r, p);
        else if (accept(r, "lr"))
            p->lr_mult = real(r);
        else if (accept(r, "decay"))
            p->decay_mult = real(r);
        else if (accept(r, "trainable"))
            p->trainable = integer(r);
        else if (accept(r, "max_rms"))
            p->max_rms = real(r);
        else if (accept(r, "frozen"))
            p->frozen = true;
        else if (accept(r, "constant"))
            p->constant = true;
        else if (accept(r, "label"))
            p->label = quoted(r);
        else if (accept(r, "<"))
            p->layout = layout(r);
        else if (accept(r, "at"))
            p->offset = integer(r);
        else if (accept(r, "state"))
            p->state_offset = integer(r);
        else if (accept(r, "size"))
            p->bytes = integer(r);
        else if (accept(r, "links"))
            links(r, p);
        else if (accept(r, "table"))
            table(r, p);
        else
            return;
    }
}

static void param(Reader *r) {
    ParamList *list = r->g->params;
    int index = small(r, PARSE_MAX_ID);
    if (index != list->count)
        fail(r, "parameters must be numbered 0, 1, 2, ...");
    if (list->count == list->cap) {
        Param *bigger = ARENA_ARRAY(r->keep, list->cap ? list->cap * 2 : 16, Param);
        if (list->count)
            memcpy(bigger, list->at, (size_t)list->count * sizeof(Param));
        list->at = bigger;
        list->cap = list->cap ? list->cap * 2 : 16;
    }
    Param *p = &list->at[list->count++];
    memset(p, 0, sizeof *p);
    p->lr_mult = p->decay_mult = 1;
    p->name = quoted(r);
    p->shape = p->split = shape(r);
    param_fields(r, p);
}

/* ---- kernels ---- */

static void pair(Reader *r, double *image, double *fixed) {
    *image = real(r);
    expect(r, "+");
    *fixed = real(r);
}

static void kernel_fields(Reader *r, Kernel *k) {
    while (!accept(r, "{")) {
        if (accept(r, "label"))
            k->label = quoted(r);
        else if (accept(r, "algorithm"))
            k->algorithm = quoted(r);
        else if (accept(r, "tile")) {
            int *field[] = {&k->tile.ow, &k->tile.oh,     &k->tile.oc,
                            &k->tile.ic, &k->tile.unroll, &k->tile.rows};
            for (int i = 0; i < 6; i++) {
                if (i)
                    expect(r, ",");
                *field[i] = small(r, 1 << 30);
            }
        } else if (accept(r, "source")) {
            int *field[] = {&r->sources, &k->source_tile.ow, &k->source_tile.oh,
                            &k->source_tile.oc, &k->source_tile.unroll};
            for (int i = 0; i < 5; i++) {
                if (i)
                    expect(r, ",");
                *field[i] = small(r, i ? 1 << 30 : KERNEL_MAX_SOURCE);
            }
        } else if (accept(r, "oc_outer"))
            k->oc_outer = true;
        else if (accept(r, "tasks")) {
            k->tasks_per = integer(r);
            expect(r, "/");
            k->tasks_block = integer(r);
        } else if (accept(r, "flops"))
            pair(r, &k->flops_image, &k->flops_fixed);
        else if (accept(r, "bytes"))
            pair(r, &k->bytes_image, &k->bytes_fixed);
        else if (accept(r, "scratch"))
            k->scratch = integer(r);
        else if (accept(r, "room")) {
            k->gap = integer(r);
            expect(r, "+");
            k->gap_bytes = integer(r);
            expect(r, ",");
            k->top = integer(r);
        } else if (accept(r, "why"))
            k->why = quoted(r);
        else
            fail(r, "unexpected '%.20s' in a kernel", r->at);
    }
}

static void kernel(Reader *r) {
    Graph *g = r->g;
    if (r->open)
        fail(r, "a kernel inside a kernel");
    if (small(r, PARSE_MAX_ID) != g->nkernels)
        fail(r, "kernels must be numbered 0, 1, 2, ...");
    if (g->nkernels == r->cap_kernels) {
        r->cap_kernels = r->cap_kernels ? r->cap_kernels * 2 : 32;
        Kernel *bigger = ARENA_ARRAY(r->keep, r->cap_kernels, Kernel);
        if (g->nkernels)
            memcpy(bigger, g->kernels, (size_t)g->nkernels * sizeof(Kernel));
        g->kernels = bigger;
    }
    r->open = &g->kernels[g->nkernels++];
    r->open->name = quoted(r);
    r->sources = 0;
    kernel_fields(r, r->open);
}

static void close_kernel(Reader *r) {
    if (!r->open || !r->open->anchor)
        fail(r, "'}' closes no kernel or an empty one");
    r->open = NULL;
}

static void entry(Reader *r) {
    Graph *g = r->g;
    if (g->nentries == 8)
        fail(r, "too many entries");
    Entry *e = &g->entry[g->nentries++];
    e->name = quoted(r);
    e->first = small(r, g->nkernels);
    e->count = small(r, g->nkernels - e->first);
}

static void memory(Reader *r) {
    Graph *g = r->g;
    expect(r, "act");
    g->act_bytes = integer(r);
    expect(r, "lower");
    g->act_lower_bound = integer(r);
    expect(r, "fix");
    g->fix_bytes = integer(r);
    expect(r, "lower");
    g->fix_lower_bound = integer(r);
    expect(r, "scratch");
    g->scratch_bytes = integer(r);
}

static void parse_all(Reader *r) {
    while (blanks(r), *r->at == '\n' || *r->at == ';' || *r->at == '\r')
        newline(r);
    expect(r, "graph");
    r->g->name = quoted(r);
    expect(r, "net");
    r->g->net = quoted(r);
    for (newline(r); *r->at; newline(r)) {
        blanks(r);
        if (*r->at == '\n' || *r->at == ';' || *r->at == '\r' || *r->at == 0)
            continue;
        if (*r->at == '%' || *r->at == '_')
            definition(r);
        else if (accept(r, "}"))
            close_kernel(r);
        else if (accept(r, "kernel"))
            kernel(r);
        else if (accept(r, "param"))
            param(r);
        else if (accept(r, "entry"))
            entry(r);
        else if (accept(r, "memory"))
            memory(r);
        else if (accept(r, "pools")) {
            r->g->params->bytes = integer(r);
            r->g->params->state_bytes = integer(r);
        } else
            fail(r, "unexpected '%.20s'", r->at);
    }
    if (r->open)
        fail(r, "kernel without end");
}

Graph *graph_parse(Arena *keep, const char *text, const char **error) {
    Reader r = {.keep = keep, .at = text, .line = 1, .names = map_new(keep)};
    ParamList *params = ARENA_NEW(keep, ParamList);
    r.g = graph_new(keep, "", "", params);
    if (setjmp(r.fail)) {
        *error = r.error;
        return NULL;
    }
    parse_all(&r);
    return r.g;
}
