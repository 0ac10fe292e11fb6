/* shrink.c: see shrink.h. */
#include "shrink.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "front/parse.h"
#include "front/sema.h"

enum { COUNTS_FROM = 16, LEAST = 6 /* topk(.., k = 5) */, SIDES_FROM = 32, NAMES_MAX = 64 };

typedef struct Walk {
    const Shrink *how;
    const char *count[NAMES_MAX]; /* names that `repeat` counts with */
    int ncounts;
} Walk;

static bool one_of(const char *name, const char *const *list) {
    for (; name && *list; list++)
        if (strcmp(name, *list) == 0)
            return true;
    return false;
}

/* ---- names of counts ---- */

static void find_names(Ast *ast, void *data) {
    Walk *w = data;
    if (ast->kind == AST_NAME && ast->name && w->ncounts < NAMES_MAX)
        w->count[w->ncounts++] = ast->name;
    ast_children(ast, find_names, data);
}

static void find_repeats(Ast *ast, void *data) {
    if (ast->kind == AST_REPEAT)
        find_names(ast->repeat.count, data);
    ast_children(ast, find_repeats, data);
}

static bool is_count(const Walk *w, const char *name) {
    for (int i = 0; name && i < w->ncounts; i++)
        if (strcmp(w->count[i], name) == 0)
            return true;
    return false;
}

/* ---- numbers ---- */

static void put(Ast *num, int64_t n) {
    num->num.integer = n;
    num->num.value = (double)n;
}

static void scale_maps(const Walk *w, Ast *ast) {
    if (ast && ast->kind == AST_NUM && ast->num.is_int && !ast->num.unit[0] &&
        ast->num.integer >= COUNTS_FROM) {
        int64_t n = (ast->num.integer + w->how->divisor - 1) / w->how->divisor;
        put(ast, n < LEAST ? LEAST : n);
    } else if (ast && ast->kind == AST_BINARY) {
        scale_maps(w, ast->expr.left);
        scale_maps(w, ast->expr.right);
    }
}

/* One extent of a picture: a number, or dim(H, multiple = 32, default = 224). */
static void scale_side(const Walk *w, Ast *ast, bool set) {
    double f = set ? w->how->set : w->how->input;
    if (ast->kind == AST_NUM && ast->num.is_int && ast->num.integer >= SIDES_FROM)
        put(ast, (int64_t)ceil(f * (double)ast->num.integer));
    if (ast->kind != AST_CALL || !ast->name || strcmp(ast->name, "dim") != 0)
        return;
    Ast *size = NULL;
    int64_t multiple = 1;
    AST_EACH(arg, ast->call.args) {
        if (!arg->name || arg->arg.value->kind != AST_NUM)
            continue;
        if (strcmp(arg->name, "default") == 0)
            size = arg->arg.value;
        if (strcmp(arg->name, "multiple") == 0)
            multiple = arg->arg.value->num.integer;
    }
    if (size)
        put(size,
            (int64_t)ceil(w->how->set * (double)size->num.integer / (double)multiple) * multiple);
}

static void scale_shape(const Walk *w, AstList dims, bool set) {
    for (int i = 1; i < dims.count; i++) /* maps of the picture stay */
        scale_side(w, dims.items[i], set);
}

/* ---- statements ---- */

/* Maps are the first argument of some operations and may be any of a block. */
static void scale_call(const Walk *w, Ast *call) {
    static const char *const layers[] = {"conv",    "deconv", "dense", "rbf",    "slice",
                                         "reshape", "lstm",   "gru",   "conv1d", "conv3d",
                                         "pad",     "param",  NULL};
    static const char *const named[] = {"maps", "units", "maps_after", "from", "count", NULL};
    static const char *const sizes[] = {"stride", "pad",    "kernel",   "dilation", "output_pad",
                                        "groups", "factor", "multiple", "seed",     NULL};
    bool layer = one_of(call->name, layers),
         block = !layer && call->name && spec_op(call->name) == OP_NONE;
    int position = 0;
    AST_EACH(arg, call->call.args) {
        bool maps = arg->name ? (layer && one_of(arg->name, named)) ||
                                    (block && !one_of(arg->name, sizes) && !is_count(w, arg->name))
                              : block || (layer && position++ == 0);
        if (maps)
            scale_maps(w, arg->arg.value);
    }
}

static void scale(Ast *ast, void *data);

/* `set fc = 8192` counts, `set c1.stride = 2` does not. */
static void scale_set(Walk *w, Ast *ast) {
    AstList parts = ast->set.path->path.parts;
    const Ast *last = parts.items[parts.count - 1];
    if (last->name && strcmp(last->name, "shape") == 0 && ast->set.value->kind == AST_LIST)
        scale_shape(w, ast->set.value->list.items, true);
    else if (parts.count == 1 ? !is_count(w, last->name)
                              : last->name && (strcmp(last->name, "maps") == 0 ||
                                               strcmp(last->name, "units") == 0))
        scale_maps(w, ast->set.value);
}

static bool of_data(const Ast *member) {
    const Ast *path = member->kind == AST_SET ? member->set.path : NULL;
    const char *name = path ? path->path.parts.items[0]->name : NULL;
    return (member->kind == AST_SECTION && strcmp(member->name, "data") == 0) ||
           (name && strcmp(name, "data") == 0);
}

/* Pictures of another size cannot be read: the data section goes. */
static void drop_data(AstList *members) {
    int n = 0;
    for (int i = 0; i < members->count; i++)
        if (!of_data(members->items[i]))
            members->items[n++] = members->items[i];
    members->count = n;
}

static void scale_args(const Walk *w, AstList args) {
    AST_EACH(arg, args)
    if (!is_count(w, arg->name))
        scale_maps(w, arg->arg.value);
}

static void scale_type(const Walk *w, const Ast *type, bool input) {
    bool class = type->name && strcmp(type->name, "class") == 0;
    if (input && !class)
        scale_shape(w, type->type.dims, false);
    for (int i = 0; i < type->type.dims.count && (!input || (class && i == 0)); i++)
        scale_maps(w, type->type.dims.items[i]);
}

static void scale(Ast *ast, void *data) {
    Walk *w = data;
    switch (ast->kind) {
    case AST_NET:
        drop_data(&ast->net.members);
        scale_args(w, ast->net.base_args);
        break;
    case AST_VARIANT:
        drop_data(&ast->variant.members);
        break;
    case AST_FORMAL:
        if (ast->formal.value && !is_count(w, ast->name))
            scale_maps(w, ast->formal.value);
        return;
    case AST_CONST:
        if (!is_count(w, ast->name))
            scale_maps(w, ast->constant.value);
        return;
    case AST_INPUT:
        scale_type(w, ast->input.type, true);
        return;
    case AST_PARAM:
        scale_type(w, ast->param.type, false);
        return;
    case AST_SET:
        scale_set(w, ast);
        return;
    case AST_CALL:
        scale_call(w, ast);
        break;
    case AST_LOSS:
    case AST_METRIC:
    case AST_SECTION:
    case AST_REPEAT:
        if (ast->kind == AST_REPEAT)
            scale(ast->repeat.body, w);
        return;
    default:
        break;
    }
    ast_children(ast, scale, w);
}

/* ---- building ---- */

Model *shrink_build(Arena *keep, const char *path, const char *net, const Shrink *how,
                    bool forward_only, bool loud) {
    Sources *s = sources_new(keep);
    DiagCtx *d = diag_ctx_new(keep, s);
    Ast *file = parse_file(keep, s, d, path, NULL);
    Walk w = {.how = how};
    if (file && (how->divisor > 1 || how->input < 1 || how->set < 1)) {
        find_repeats(file, &w);
        scale(file, &w);
    }
    ModelOptions opt = {.net = net, .sources = s, .forward_only = forward_only};
    Model *m = file ? model_build(keep, d, file, &opt) : NULL;
    if (!m && loud)
        diag_render(d, stdout, DIAG_TEXT, false);
    return m;
}

/* Batch normalisation of maps that have become single cells is another function than before. */
static bool too_small(const Model *m) {
    const Graph *g = m->mode[MODEL_FORWARD].graph;
    for (NodeId id = 1; id < g->nnode; id++) {
        const Node *n = graph_n(g, id);
        const Shape *s = &graph_v(g, n->in[0])->shape;
        if (!n->dead && n->op == OP_BN && s->rank == 3 && s->dim[1] * s->dim[2] < 4)
            return true;
    }
    return false;
}

/* Cost, or infinity when it does not build. */
static double cost_of(const char *path, const char *net, const Shrink *how) {
    Arena *a = arena_new();
    const Model *m = shrink_build(a, path, net, how, true, false);
    bool whole = how->divisor == 1 && how->input >= 1 && how->set >= 1;
    double cost = !m || (!whole && too_small(m))
                      ? INFINITY
                      : fmax(m->macs / SHRINK_MACS, (double)m->trainable / SHRINK_PARAMS);
    arena_free(a);
    return cost;
}

bool shrink_find(const char *path, const char *net, Shrink *how) {
    static const double factor[] = {0.125, 0.1875, 0.25, 0.3125, 0.375, 0.5, 0.625, 0.75};
    enum { FACTORS = sizeof factor / sizeof *factor };
    *how = (Shrink){1, 1, 1};
    double least = cost_of(path, net, how);
    if (least <= 1 || !isfinite(least))
        return isfinite(least);
    for (int64_t divisor = 1; divisor <= 32; divisor *= 2) {
        double best = INFINITY;
        for (int i = 0; i < 2 * FACTORS + 1 && !isfinite(best); i++) {
            Shrink now = {divisor, i < FACTORS ? factor[i] : 1,
                          i < 2 * FACTORS ? factor[i % FACTORS] : 1};
            best = cost_of(path, net, &now);
            if (best < least) {
                least = best;
                *how = now;
            }
        }
        if (least <= 1)
            return true;
    }
    return true;
}
