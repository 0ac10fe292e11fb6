/* sema_train.c: the sections data, train, predict and defaults: settings the runtime will read.
 *
 * Each section has a table of keys; unknown keys are errors with the nearest known one.  Sources of
 * data become the URIs of runtime/rt_data.h ("digits:12000:1", a folder).
 *
 * requires: a finished first walk (labels, input, metrics).  ensures: Model.train and Model.input
 * are complete: every number is in the range the runtime accepts.
 */
#include <math.h>
#include <string.h>

#include "front/sema.h"

typedef struct Key {
    const char *name;
    void (*read)(Build *b, const Setting *s);
} Key;

static void not_built(Build *b, LocRange loc, const char *what, const char *help) {
    Diag *d = diag_error(b->diag, loc, "E0801", "not built yet: %s", what);
    if (help)
        diag_help(d, "%s", help);
}

static void unknown_call(Build *b, const Val *v, const char *what, const char *const *known,
                         int n) {
    StrBuf list = sb_new(b->arena);
    if (v->kind == V_BAD)
        return;
    bool word = v->kind == V_CALL || v->kind == V_NAME;
    const char *got = word ? arena_printf(b->arena, "'%s'", v->text) : val_kind_text(v);
    for (int i = 0; i < n; i++)
        sb_printf(&list, "%s%s", i == 0 ? "" : i == n - 1 ? " or " : ", ", known[i]);
    Diag *d = diag_error(b->diag, v->loc, "E0106", "%s is %s, got %s", what, list.text, got);
    for (int i = 0; i < n && v->kind == V_NAME; i++)
        if (eq(v->text, known[i])) {
            diag_help(d, "its arguments, or none, stand in parentheses: %s()", known[i]);
            return;
        }
    if (word)
        diag_suggest(d, v->kind == V_CALL ? v->ast->call.callee->loc : v->loc,
                     nearest_name(v->text, known, n));
}

static bool positive(Build *b, const Val *v, const char *what, double lo, double hi, double *out) {
    double x;
    if (!expr_num(b, v, what, &x))
        return false;
    if (x >= lo && x <= hi) {
        *out = x;
        return true;
    }
    diag_error(b->diag, v->loc, "E0303", "%s must be between %.10g and %.10g, got %.10g", what, lo,
               hi, x);
    return false;
}

/* 3, 3epoch */
static bool epochs_of(Build *b, const Val *v, const char *what, int64_t *out) {
    Val plain = *v;
    if (v->kind == V_NUM && eq(v->unit, "epoch")) {
        plain.unit = "";
    } else if (v->kind == V_NUM && *v->unit) {
        Diag *d = diag_error(b->diag, v->loc, "E0125", "%s counts epochs, got a number of '%s'", what,
                             v->unit);
        diag_help(d, "write %.15gepoch, or the number alone", v->num);
        return false;
    }
    return expr_int(b, &plain, what, 1, 1000000, out);
}

/* ---- data ---- */

static const char *source_uri(Build *b, const Setting *s) {
    static const char *const known[] = {"digits", "mnist", "cifar10", "folder", "images",
                                        "csv",    "npy",   "ts",      "wav",    "text",
                                        "cifar100", "maps"},
                             *const digits[] = {"count", "seed"}, *const dir[] = {"dir"};
    Val v = expr_eval(b, s->scope, s->value), a[2];
    if (v.kind == V_STR)
        return v.text;
    if (v.kind != V_CALL) {
        unknown_call(b, &v, "a source of data", known, 12);
        return NULL;
    }
    if (is_source_kind(v.text))
        return source_of_kind(b, &v);
    if (eq(v.text, "digits")) {
        int64_t count, seed = 1;
        if (!call_args(b, &v, digits, 2, 1, a) ||
            !expr_int(b, &a[0], "the number of digits", 10, 100000000, &count) ||
            (a[1].kind != V_BAD && !expr_int(b, &a[1], "seed", 0, INT64_C(1) << 52, &seed)))
            return NULL;
        return arena_printf(b->arena, "digits:%lld:%lld", (long long)count, (long long)seed);
    }
    AST_EACH(arg, v.ast->call.args) {
        if (!eq(arg->name, "short") && !eq(arg->name, "crop") && !eq(arg->name, "crops") &&
            !eq(arg->name, "flip") && !eq(arg->name, "mean"))
            continue;
        not_built(b, arg->name_loc,
                  arena_printf(b->arena, "%s as an argument of %s", arg->name, v.text),
                  "write it beside the source: resize = short(256), crop = 224x224, flip = yes, "
                  "mean = [..]");
        return NULL;
    }
    for (int i = 1; i < 5; i++)
        if (eq(v.text, known[i])) {
            if (!call_args(b, &v, dir, 1, 1, a))
                return NULL;
            if (a[0].kind == V_STR && *a[0].text)
                return a[0].text;
            Diag *d = diag_error(b->diag, a[0].loc, "E0111",
                                 "%s takes the name of a folder in quotes", v.text);
            if (a[0].kind == V_NAME)
                diag_fixit(d, a[0].loc, arena_printf(b->arena, "\"%s\"", a[0].text));
            return NULL;
        }
    unknown_call(b, &v, "a source of data", known, 12);
    return NULL;
}

static void data_train(Build *b, const Setting *s) {
    b->m->train.train_data = source_uri(b, s);
}
static void data_test(Build *b, const Setting *s) {
    b->m->train.test_data = source_uri(b, s);
}

static rt_input_spec *prep(Build *b) {
    return b->m->ninputs ? &b->m->input[0].prep : NULL;
}

static void data_pixels(Build *b, const Setting *s) {
    static const char *const known[] = {"range"}, *const names[] = {"low", "high"};
    Val v = expr_eval(b, s->scope, s->value), a[2];
    double lo, hi;
    if (v.kind != V_CALL || !eq(v.text, "range")) {
        unknown_call(b, &v, "pixels", known, 1);
        return;
    }
    if (!call_args(b, &v, names, 2, 2, a) || !positive(b, &a[0], "low", -1e6, 1e6, &lo) ||
        !positive(b, &a[1], "high", -1e6, 1e6, &hi))
        return;
    if (lo == hi) {
        diag_error(b->diag, v.loc, "E0303", "all pixels would have the value %g", lo);
        return;
    }
    prep(b)->lo = (float)lo;
    prep(b)->hi = (float)hi;
}

/* pad = 32x32 and crop = 224x224 name the size that the input has. */
static bool same_size(Build *b, const Setting *s) {
    Val v = expr_eval(b, s->scope, s->value);
    const ModelInput *in = &b->m->input[0];
    if (v.kind == V_BAD)
        return false;
    bool list = v.kind == V_LIST && v.n == 2 && v.at[0].kind == V_NUM && v.at[1].kind == V_NUM;
    if (!list && (v.kind != V_EXTENT || v.n != 2)) { /* [H, W] where sizes have names */
        diag_error(b->diag, v.loc, "E0111", "%s takes an extent: %lldx%lld", s->key,
                   (long long)in->shape.dim[1], (long long)in->shape.dim[2]);
        return false;
    }
    if (v.at[0].num == (double)in->shape.dim[1] && v.at[1].num == (double)in->shape.dim[2])
        return true;
    Diag *d = diag_error(b->diag, v.loc, "E0335", "%s to %s, but input '%s' is %lldx%lld", s->key,
                         val_text(b->arena, &v), in->name, (long long)in->shape.dim[1],
                         (long long)in->shape.dim[2]);
    diag_fixit(d, v.loc,
               arena_printf(b->arena, "%lldx%lld", (long long)in->shape.dim[1],
                            (long long)in->shape.dim[2]));
    return false;
}

static void data_pad(Build *b, const Setting *s) {
    prep(b)->pad = same_size(b, s);
}
static void data_crop(Build *b, const Setting *s) {
    prep(b)->crop = same_size(b, s);
}

static void data_resize(Build *b, const Setting *s) {
    static const char *const known[] = {"short"}, *const names[] = {"pixels"};
    Val v = expr_eval(b, s->scope, s->value), a[1];
    int64_t n;
    if (v.kind == V_NUM)
        diag_help(diag_error(b->diag, v.loc, "E0111", "resize says what becomes so long, got a number alone"),
                  "resize = short(%.15g): the shorter side", v.num);
    else if (v.kind != V_CALL || !eq(v.text, "short"))
        unknown_call(b, &v, "resize", known, 1);
    else if (call_args(b, &v, names, 1, 1, a) &&
             expr_int(b, &a[0], "the shorter side", 1, 65535, &n))
        prep(b)->resize_short = (int32_t)n;
}

static void data_flip(Build *b, const Setting *s) {
    Val v = expr_eval(b, s->scope, s->value);
    bool on;
    if (expr_bool(b, &v, "flip", &on))
        prep(b)->flip = on;
}

static void data_channels(Build *b, const Setting *s, float *out, double lo) {
    Val v = expr_eval(b, s->scope, s->value);
    int c = (int)(b->m->input[0].shape.dim[0] < 4 ? b->m->input[0].shape.dim[0] : 4);
    int n = v.kind == V_LIST ? v.n : 1;
    const Val *at = v.kind == V_LIST ? v.at : &v;
    if (v.kind == V_BAD)
        return;
    if (n != 1 && n != c) {
        diag_error(b->diag, v.loc, "E0335", "%s has %d numbers, the input %d channels", s->key, n,
                   c);
        return;
    }
    for (int i = 0; i < c; i++) {
        double x = 0;
        if (!positive(b, &at[n == 1 ? 0 : i], s->key, lo, 1e6, &x))
            return;
        out[i] = (float)x;
    }
}

/* mean = per_pixel or mean = "FILE.npy" */
static bool mean_image(Build *b, const Setting *s) {
    Val v = expr_eval(b, s->scope, s->value);
    bool file = v.kind == V_STR;
    if (!file && !(v.kind == V_NAME && eq(v.text, "per_pixel")))
        return false;
    if (file && !*v.text)
        diag_error(b->diag, v.loc, "E0111", "mean is a number, one per channel, per_pixel or the "
                                            "name of a file in quotes");
    prep(b)->mean_image = file ? RT_MEAN_FILE : RT_MEAN_TRAINING;
    prep(b)->mean_file = file ? v.text : NULL;
    memset(prep(b)->mean, 0, sizeof prep(b)->mean);
    return true;
}

static void data_mean(Build *b, const Setting *s) {
    if (mean_image(b, s))
        return;
    prep(b)->mean_image = RT_MEAN_CHANNELS;
    data_channels(b, s, prep(b)->mean, -1e6);
}
static void data_std(Build *b, const Setting *s) {
    data_channels(b, s, prep(b)->std, 1e-6);
}

static void data_order(Build *b, const Setting *s) {
    static const char *const known[] = {"rgb", "bgr"};
    Val v = expr_eval(b, s->scope, s->value);
    if (v.kind == V_NAME && (eq(v.text, "rgb") || eq(v.text, "bgr")))
        prep(b)->bgr = v.text[0] == 'b';
    else
        unknown_call(b, &v, "order", known, 2);
}

static void data_augment(Build *b, const Setting *s) {
    Val v = expr_eval(b, s->scope, s->value);
    sema_augment(b, &v, prep(b)->augment);
}

static const Key data_keys[] = {
    {"train", data_train}, {"test", data_test}, {"val", data_test},      {"pixels", data_pixels},
    {"pad", data_pad},     {"crop", data_crop}, {"resize", data_resize}, {"flip", data_flip},
    {"mean", data_mean},   {"std", data_std},   {"order", data_order}, {"augment", data_augment},
};

/* ---- train ---- */

/* An argument that may be left out. */
static void maybe(Build *b, const Val *v, const char *what, double lo, double hi, double *out) {
    if (v->kind != V_BAD)
        positive(b, v, what, lo, hi, out);
}

static const double under_one = 0.99999994; /* the largest float below 1 */

static void optimizer_sgd(Build *b, const Val *v) {
    static const char *const names[] = {"lr", "momentum", "nesterov", "decay"};
    rt_train_spec *t = &b->m->train;
    Val a[4];
    if (!call_args(b, v, names, 4, 1, a))
        return;
    positive(b, &a[0], "lr", 0, 1e6, &t->lr);
    maybe(b, &a[1], "momentum", 0, 1, &t->momentum);
    if (a[2].kind != V_BAD)
        expr_bool(b, &a[2], "nesterov", &b->m->nesterov);
    maybe(b, &a[3], "decay", 0, 1e6, &t->decay);
}

/* Defaults are PyTorch's. */
static void optimizer_adam(Build *b, const Val *v) {
    static const char *const names[] = {"lr", "beta1", "beta2", "eps", "decay"};
    rt_train_spec *t = &b->m->train;
    Val a[5];
    t->optimizer = RT_ADAM;
    t->decoupled = eq(v->text, "adamw");
    t->lr = 1e-3;
    t->momentum = 0.9;
    t->second = 0.999;
    t->eps = 1e-8;
    t->decay = t->decoupled ? 0.01 : 0;
    if (!call_args(b, v, names, 5, 0, a))
        return;
    maybe(b, &a[0], "lr", 0, 1e6, &t->lr);
    maybe(b, &a[1], "beta1", 0, under_one, &t->momentum);
    maybe(b, &a[2], "beta2", 0, under_one, &t->second);
    maybe(b, &a[3], "eps", 1e-30, 1e6, &t->eps);
    maybe(b, &a[4], "decay", 0, 1e6, &t->decay);
}

static void optimizer_rmsprop(Build *b, const Val *v) {
    static const char *const names[] = {"lr", "alpha", "eps", "momentum", "decay", "eps_inside"};
    rt_train_spec *t = &b->m->train;
    Val a[6];
    bool inside = false;
    t->optimizer = RT_RMSPROP;
    t->lr = 0.01;
    t->second = 0.99;
    t->eps = 1e-8;
    if (!call_args(b, v, names, 6, 0, a))
        return;
    maybe(b, &a[0], "lr", 0, 1e6, &t->lr);
    maybe(b, &a[1], "alpha", 0, under_one, &t->second);
    maybe(b, &a[2], "eps", 1e-30, 1e6, &t->eps);
    maybe(b, &a[3], "momentum", 0, 1, &t->momentum);
    maybe(b, &a[4], "decay", 0, 1e6, &t->decay);
    if (a[5].kind != V_BAD && expr_bool(b, &a[5], "eps_inside", &inside))
        t->eps_inside = inside;
}

/* Step of a weight: lr / (mu + its curvature), which is found on so many samples before each epoch. */
static void optimizer_sdlm(Build *b, const Val *v) {
    static const char *const names[] = {"lr", "mu", "samples", "decay"};
    rt_train_spec *t = &b->m->train;
    Val a[4];
    t->optimizer = RT_SDLM;
    t->eps = 0.02;
    t->curvature = 500;
    if (!call_args(b, v, names, 4, 1, a))
        return;
    positive(b, &a[0], "lr", 0, 1e6, &t->lr);
    maybe(b, &a[1], "mu", 1e-9, 1e6, &t->eps);
    if (a[2].kind != V_BAD)
        expr_int(b, &a[2], "samples", 1, 1000000000, &t->curvature);
    maybe(b, &a[3], "decay", 0, 1e6, &t->decay);
}

/* Weights, and a sparse copy of them that follows: DessiLBI. */
static void optimizer_dessilbi(Build *b, const Val *v) {
    static const char *const names[] = {"lr", "kappa", "nu", "lambda", "momentum", "decay",
                                        "filters"};
    rt_train_spec *t = &b->m->train;
    double nu = 100;
    bool filters = false;
    Val a[7];
    t->optimizer = RT_SLBI;
    t->kappa = 1;
    t->eps = 1;
    if (!call_args(b, v, names, 7, 1, a))
        return;
    positive(b, &a[0], "lr", 0, 1e6, &t->lr);
    maybe(b, &a[1], "kappa", 1e-6, 1e6, &t->kappa);
    maybe(b, &a[2], "nu", 1e-6, 1e9, &nu);
    maybe(b, &a[3], "lambda", 1e-30, 1e6, &t->eps);
    maybe(b, &a[4], "momentum", 0, 1, &t->momentum);
    maybe(b, &a[5], "decay", 0, 1e6, &t->decay);
    if (a[6].kind != V_BAD && expr_bool(b, &a[6], "filters", &filters) && filters)
        t->optimizer = RT_SLBI_GROUPS;
    t->second = 1 - 1 / nu;
}

static void train_optimizer(Build *b, const Setting *s) {
    static const char *const known[] = {"sgd", "adam", "adamw", "rmsprop", "sdlm", "dessilbi"};
    Val v = expr_eval(b, s->scope, s->value);
    if (v.kind == V_CALL && eq(v.text, "sgd"))
        optimizer_sgd(b, &v);
    else if (v.kind == V_CALL && (eq(v.text, "adam") || eq(v.text, "adamw")))
        optimizer_adam(b, &v);
    else if (v.kind == V_CALL && eq(v.text, "rmsprop"))
        optimizer_rmsprop(b, &v);
    else if (v.kind == V_CALL && eq(v.text, "sdlm"))
        optimizer_sdlm(b, &v);
    else if (v.kind == V_CALL && eq(v.text, "dessilbi"))
        optimizer_dessilbi(b, &v);
    else
        unknown_call(b, &v, "the optimizer", known, 6);
}

/* clip = norm(5), value(0.1) */
static void train_clip(Build *b, const Setting *s) {
    static const char *const known[] = {"norm", "value"}, *const names[] = {"most"};
    rt_train_spec *t = &b->m->train;
    Val v = expr_eval(b, s->scope, s->value), a[1];
    if (v.kind == V_NUM)
        diag_help(diag_error(b->diag, v.loc, "E0111", "clip says what is limited, got a number alone"),
                  "clip = norm(%.15g): all gradients together; clip = value(%.15g): each", v.num,
                  v.num);
    else if (v.kind != V_CALL || (!eq(v.text, "norm") && !eq(v.text, "value")))
        unknown_call(b, &v, "clip", known, 2);
    else if (call_args(b, &v, names, 1, 1, a) &&
             positive(b, &a[0], v.text, 1e-30, 1e30, &t->clip_at))
        t->clip = eq(v.text, "norm") ? RT_CLIP_NORM : RT_CLIP_VALUE;
}

/* adversarial = pgd(0.3, step, steps), trades(0.3, beta, step, steps).  Without steps it is plain
 * training. */
static void train_adversarial(Build *b, const Setting *s) {
    static const char *const known[] = {"pgd", "trades"},
                             *const names[] = {"eps", "step", "steps", "beta"};
    rt_adversary *t = &b->m->train.adversary;
    Val v = expr_eval(b, s->scope, s->value), a[4];
    bool trades = v.kind == V_CALL && eq(v.text, "trades");
    if (!trades && (v.kind != V_CALL || !eq(v.text, "pgd"))) {
        unknown_call(b, &v, "adversarial", known, 2);
        return;
    }
    *t = (rt_adversary){.steps = 10, .beta = trades ? 6 : 0};
    if (!call_args(b, &v, names, trades ? 4 : 3, 1, a) ||
        !positive(b, &a[0], "eps, a share of the pixel range,", 0, 1, &t->eps))
        return;
    if (a[2].kind != V_BAD && !expr_int(b, &a[2], "steps", 0, 100000, &t->steps))
        return;
    t->step = t->steps > 0 ? 2.5 * t->eps / (double)t->steps : 0;
    maybe(b, &a[1], "step", 0, 1, &t->step);
    if (trades)
        maybe(b, &a[3], "beta", 1e-6, 1e6, &t->beta);
    if (t->steps > 0 && adversary_fits(b, &v, trades))
        t->kind = trades ? RT_ADVERSARY_TRADES : RT_ADVERSARY_PGD;
}

static void train_int(Build *b, const Setting *s, int64_t lo, int64_t hi, int64_t *out) {
    Val v = expr_eval(b, s->scope, s->value);
    expr_int(b, &v, s->key, lo, hi, out);
}

static void train_batch(Build *b, const Setting *s) {
    train_int(b, s, 1, 65536, &b->m->train.batch);
}

static void train_epochs(Build *b, const Setting *s) {
    Val v = expr_eval(b, s->scope, s->value);
    epochs_of(b, &v, "epochs", &b->m->train.epochs);
}

static void train_seed(Build *b, const Setting *s) {
    int64_t seed = 1;
    train_int(b, s, 0, INT64_C(1) << 52, &seed);
    b->m->train.seed = (uint64_t)seed;
}

static void train_checkpoint(Build *b, const Setting *s) {
    static const char *const known[] = {"every"}, *const names[] = {"period"};
    Val v = expr_eval(b, s->scope, s->value), a[1];
    if (v.kind != V_CALL || !eq(v.text, "every"))
        unknown_call(b, &v, "checkpoint", known, 1);
    else if (call_args(b, &v, names, 1, 1, a))
        epochs_of(b, &a[0], "the period", &b->m->train.checkpoint_epochs);
}

static void train_init(Build *b, const Setting *s) { /* read where parameters are made */
    (void)b;
    (void)s;
}

static void schedule_table(Build *b, const Val *v) {
    rt_schedule *sch = &b->m->train.schedule;
    int n = v->ast->call.args.count;
    sch->kind = RT_SCHEDULE_TABLE;
    if (n < 1 || n > 16) {
        diag_error(b->diag, v->loc, "E0108", "table takes 1 to 16 pairs [epochs, lr], got %d", n);
        return;
    }
    for (int i = 0; i < n; i++) {
        const Ast *arg = v->ast->call.args.items[i];
        Val row = expr_eval(b, v->scope, arg->arg.value);
        if (row.kind == V_BAD)
            return;
        if (arg->name || row.kind != V_LIST || row.n != 2) {
            diag_error(b->diag, arg->loc, "E0111", "each row of the table is [epochs, lr]");
            return;
        }
        if (!epochs_of(b, &row.at[0], "a row's epochs", &sch->table[i].epochs) ||
            !positive(b, &row.at[1], "a row's lr", 0, 1e6, &sch->table[i].lr))
            return;
    }
    sch->ntable = n;
}

static void schedule_watch(Build *b, const Val *watch) {
    const char *name = watch->text;
    rt_schedule *sch = &b->m->train.schedule;
    if (watch->kind == V_BAD)
        return;
    if (watch->kind == V_NAME &&
        (strncmp(name, "val.", 4) == 0 || strncmp(name, "test.", 5) == 0)) {
        const char *metric = strchr(name, '.') + 1, *all[RT_MAX_METRICS + 1];
        int n = 0;
        sch->watch = RT_WATCH_LOSS;
        if (eq(metric, "loss"))
            return;
        for (int i = 0; i < b->m->nmetrics; i++) {
            sch->watch = i;
            if (eq(b->m->metric[i].name, metric))
                return;
            all[n++] = arena_printf(b->arena, "val.%s", b->m->metric[i].name);
        }
        Diag *d = diag_error(b->diag, watch->loc, "E0103", "the net has no metric '%s'", metric);
        all[n++] = "val.loss";
        diag_suggest(d, watch->loc, nearest_name(name, all, n));
        return;
    }
    diag_error(b->diag, watch->loc, "E0111", "plateau watches val.METRIC or val.loss");
}

/* cosine(epochs, last), poly(power, epochs, last): by steps, over the run or so many epochs */
static void schedule_falling(Build *b, const Val *v) {
    static const char *const cosine[] = {"epochs", "last"}, *const poly[] = {"power", "epochs",
                                                                             "last"};
    rt_schedule *sch = &b->m->train.schedule;
    bool power = eq(v->text, "poly");
    Val a[3];
    sch->kind = power ? RT_SCHEDULE_POLY : RT_SCHEDULE_COSINE;
    sch->every = 0;
    sch->factor = 0;
    if (!call_args(b, v, power ? poly : cosine, power ? 3 : 2, power, a))
        return;
    if (power)
        positive(b, &a[0], "power", 1e-3, 100, &sch->power);
    if (a[power].kind != V_BAD)
        epochs_of(b, &a[power], "epochs", &sch->every);
    maybe(b, &a[power + 1], "last", 0, 1, &sch->factor);
}

/* warmup = 5epoch; warmup = linear(5epoch, from = 0.1) */
static void train_warmup(Build *b, const Setting *s) {
    static const char *const known[] = {"linear"}, *const names[] = {"epochs", "from"};
    rt_schedule *sch = &b->m->train.schedule;
    Val v = expr_eval(b, s->scope, s->value), a[2];
    if (v.kind == V_NUM) {
        epochs_of(b, &v, "warmup", &sch->warmup);
    } else if (v.kind != V_CALL || !eq(v.text, "linear")) {
        unknown_call(b, &v, "warmup", known, 1);
    } else if (call_args(b, &v, names, 2, 1, a) && epochs_of(b, &a[0], "epochs", &sch->warmup)) {
        maybe(b, &a[1], "from", 0, 1, &sch->warmup_from);
    }
}

static void train_schedule(Build *b, const Setting *s) {
    static const char *const known[] = {"constant", "step",   "exponential", "plateau",
                                        "table",    "cosine", "poly"},
                             *const step[] = {"every", "factor"}, *const exp_args[] = {"factor"},
                             *const plateau[] = {"watch", "factor", "patience"};
    Val v = expr_eval(b, s->scope, s->value), a[3];
    rt_schedule *sch = &b->m->train.schedule;
    if (v.kind == V_NAME && eq(v.text, "constant")) {
        sch->kind = RT_SCHEDULE_CONST;
    } else if (v.kind == V_CALL && eq(v.text, "step")) {
        sch->kind = RT_SCHEDULE_STEP;
        if (call_args(b, &v, step, 2, 2, a)) {
            epochs_of(b, &a[0], "every", &sch->every);
            positive(b, &a[1], "factor", 1e-9, 1, &sch->factor);
        }
    } else if (v.kind == V_CALL && eq(v.text, "exponential")) {
        sch->kind = RT_SCHEDULE_STEP;
        sch->every = 1;
        if (call_args(b, &v, exp_args, 1, 1, a))
            positive(b, &a[0], "factor", 1e-9, 1, &sch->factor);
    } else if (v.kind == V_CALL && (eq(v.text, "cosine") || eq(v.text, "poly"))) {
        schedule_falling(b, &v);
    } else if (v.kind == V_CALL && eq(v.text, "plateau")) {
        sch->kind = RT_SCHEDULE_PLATEAU;
        sch->every = 1;
        sch->factor = 0.1;
        if (call_args(b, &v, plateau, 3, 1, a)) {
            schedule_watch(b, &a[0]);
            if (a[1].kind != V_BAD)
                positive(b, &a[1], "factor", 1e-9, 1, &sch->factor);
            if (a[2].kind != V_BAD)
                epochs_of(b, &a[2], "patience", &sch->every);
        }
    } else if (v.kind == V_CALL && eq(v.text, "table")) {
        schedule_table(b, &v);
    } else {
        unknown_call(b, &v, "the schedule", known, 7);
    }
}

/* ---- constraint: max_rms(conv1..conv5, 0.1) ---- */

static int cap_label(Build *b, const char *label, double radius) {
    int hits = 0;
    size_t n = strlen(label);
    for (int i = 0; i < b->m->params.count; i++) {
        Param *p = &b->m->params.at[i];
        bool inside = strncmp(p->label, label, n) == 0 && (!p->label[n] || p->label[n] == '.');
        if (!inside || p->constant || !eq(strrchr(p->name, '.'), ".weight"))
            continue;
        p->max_rms = radius;
        hits++;
    }
    return hits;
}

int label_order(Build *b, const Val *v) {
    for (int i = 0; i < b->order.len && v->kind == V_TENSOR && v->text; i++)
        if (eq(b->order.data[i]->name, v->text))
            return i;
    return -1;
}

static void cap_targets(Build *b, const Val *v, double radius) {
    int hits = 0;
    if (v->kind == V_BAD)
        return;
    if (v->kind == V_LIST) {
        for (int i = 0; i < v->n; i++)
            cap_targets(b, &v->at[i], radius);
        return;
    }
    if (v->kind == V_STR) {
        for (int i = 0; i < b->order.len; i++)
            if (glob_match(v->text, b->order.data[i]->name))
                hits += cap_label(b, b->order.data[i]->name, radius);
    } else if (v->kind == V_RANGE) {
        int from = label_order(b, &v->at[0]), to = label_order(b, &v->at[1]);
        for (int i = from; from >= 0 && i <= to; i++)
            hits += cap_label(b, b->order.data[i]->name, radius);
    } else if (label_order(b, v) >= 0) {
        const LabelInfo *l = b->order.data[label_order(b, v)];
        hits = l->removed ? 1 : cap_label(b, l->name, radius);
    } else {
        const char **all = ARENA_ARRAY(b->arena, b->order.len + 1, const char *);
        for (int i = 0; i < b->order.len; i++)
            all[i] = b->order.data[i]->name;
        Diag *d = diag_error(b->diag, v->loc, "E0114", "no layer '%s'", val_text(b->arena, v));
        if (v->kind == V_NAME)
            diag_suggest(d, v->loc, nearest_name(v->text, all, b->order.len));
        return;
    }
    if (!hits)
        diag_error(b->diag, v->loc, "E0114", "no layer with weights in '%s'",
                   val_text(b->arena, v));
}

static void train_constraint(Build *b, const Setting *s) {
    static const char *const known[] = {"max_rms"}, *const names[] = {"layers", "radius"};
    double radius;
    Val a[2], v = {.kind = V_CALL, .loc = s->value->loc, .ast = s->value, .scope = s->scope};
    if (s->value->kind != AST_CALL) {
        diag_error(b->diag, s->value->loc, "E0111", "constraint: max_rms(layers, radius)");
        return;
    }
    v.text = s->value->name ? s->value->name : "?";
    if (!eq(v.text, "max_rms"))
        unknown_call(b, &v, "a constraint", known, 1);
    else if (call_args(b, &v, names, 2, 2, a) && positive(b, &a[1], "radius", 1e-9, 1e6, &radius))
        cap_targets(b, &a[0], radius);
}

/* only = "conv2", ["fc*", "c1"]: read where parameters are made; here it must name something. */
static void train_only(Build *b, const Setting *s) {
    Val v = expr_eval(b, s->scope, s->value);
    const Val *at = v.kind == V_LIST ? v.at : &v;
    for (int i = 0; i < (v.kind == V_LIST ? v.n : 1); i++)
        if (v.kind != V_BAD && at[i].kind != V_STR) {
            diag_error(b->diag, at[i].loc, "E0111",
                       "only takes names of layers in quotes: \"conv2\", [\"fc*\", \"c1\"]");
            return;
        }
    int trained = 0;
    for (int i = 0; i < b->m->params.count; i++)
        trained += !b->m->params.at[i].frozen && !b->m->params.at[i].constant;
    if (v.kind != V_BAD && !trained)
        diag_error(b->diag, v.loc, "E0114", "no layer with weights in %s", val_text(b->arena, &v));
}

/* Patterns of parameters, "*.bias" or ["*.bias", "bn*"], as one text with commas. */
static const char *patterns(Build *b, const Val *v, const char *what) {
    StrBuf list = sb_new(b->arena);
    const Val *at = v->kind == V_LIST ? v->at : v;
    int n = v->kind == V_LIST ? v->n : 1;
    for (int i = 0; i < n; i++) {
        if (at[i].kind != V_STR || !*at[i].text) {
            if (at[i].kind != V_BAD)
                diag_error(b->diag, at[i].loc, "E0111",
                           "%s takes names of parameters in quotes: \"*.bias\", [\"fc8*\", \"c1.bias\"]",
                           what);
            return NULL;
        }
        sb_printf(&list, "%s%s", i ? "," : "", at[i].text);
    }
    return list.text;
}

/* no_decay = "*.bias": these parameters are not drawn towards zero. */
static void train_no_decay(Build *b, const Setting *s) {
    Val v = expr_eval(b, s->scope, s->value);
    if (v.kind == V_BAD || !patterns(b, &v, "no_decay"))
        return;
    const Val *at = v.kind == V_LIST ? v.at : &v;
    for (int i = 0; i < (v.kind == V_LIST ? v.n : 1); i++) {
        int hits = 0;
        for (int k = 0; k < b->m->params.count; k++) {
            Param *p = &b->m->params.at[k];
            if (p->constant || !glob_match(at[i].text, p->name))
                continue;
            p->decay_mult = 0;
            hits++;
        }
        if (!hits)
            diag_error(b->diag, at[i].loc, "E0114", "no parameter is called '%s'", at[i].text);
    }
}

/* load = weights("file", map = "old.* -> new.*", skip = "fc8*", partial = no) */
static void train_load(Build *b, const Setting *s) {
    static const char *const known[] = {"weights"},
                             *const names[] = {"file", "map", "skip", "partial"};
    rt_train_spec *t = &b->m->train;
    Val v = expr_eval(b, s->scope, s->value), a[4];
    bool partial = false;
    if (v.kind != V_CALL || !eq(v.text, "weights")) {
        unknown_call(b, &v, "load", known, 1);
        return;
    }
    if (!call_args(b, &v, names, 4, 1, a) || a[0].kind == V_BAD)
        return;
    if (a[0].kind != V_STR || !*a[0].text) {
        diag_error(b->diag, a[0].loc, "E0111", "weights takes the name of a file in quotes");
        return;
    }
    t->load = a[0].text;
    if (a[1].kind != V_BAD) {
        t->load_map = patterns(b, &a[1], "map");
        const Val *at = a[1].kind == V_LIST ? a[1].at : &a[1];
        for (int i = 0; t->load_map && i < (a[1].kind == V_LIST ? a[1].n : 1); i++)
            if (!strstr(at[i].text, "->"))
                diag_error(b->diag, at[i].loc, "E0111",
                           "map takes pairs of names: \"old.* -> new.*\"");
    }
    if (a[2].kind != V_BAD)
        t->load_skip = patterns(b, &a[2], "skip");
    if (a[3].kind != V_BAD && expr_bool(b, &a[3], "partial", &partial))
        t->load_partial = partial;
}

static void train_later(Build *b, const Setting *s) {
    not_built(b, s->key_loc, arena_printf(b->arena, "train { %s = .. }", s->key),
              "random changes of samples stand in data { augment = .. }");
}

static const Key train_keys[] = {
    {"optimizer", train_optimizer},
    {"batch", train_batch},
    {"epochs", train_epochs},
    {"schedule", train_schedule},
    {"warmup", train_warmup},
    {"only", train_only},
    {"init", train_init},
    {"seed", train_seed},
    {"checkpoint", train_checkpoint},
    {"constraint", train_constraint},
    {"load", train_load},
    {"no_decay", train_no_decay},
    {"clip", train_clip},
    {"adversarial", train_adversarial},
    {"augment", train_later},
};

/* ---- defaults ---- */

static void check_default(Build *b, const Setting *s) {
    const char *dot = strchr(s->key, '.');
    const char *word = dot ? intern(s->key, (size_t)(dot - s->key)) : s->key;
    int op = spec_op(word);
    if (op == OP_NONE) {
        const char *all[OP_COUNT];
        int n = 0;
        for (int k = OP_NONE + 1; k < OP_COUNT; k++)
            if (op_is(k, OPF_U))
                all[n++] = op_name[k];
        Diag *d = diag_error(b->diag, s->key_loc, "E0104", "unknown operation '%s'", word);
        diag_suggest(d, LOC_NONE, nearest_name(word, all, n));
        return;
    }
    static const char *const common[] = {"init",    "bias_init", "frozen",
                                         "centers", "lr_mult",   "decay_mult"};
    for (int i = 0; dot && i < op_def[op]->nattrs; i++)
        if (eq(op_def[op]->attrs[i].name, dot + 1) && !op_def[op]->attrs[i].internal)
            return;
    for (int i = 0; dot && op_is(op, OPF_P) && i < 6; i++)
        if (eq(common[i], dot + 1))
            return;
    diag_error(b->diag, s->key_loc, "E0107", "%s has no parameter '%s'; it takes %s", word,
               dot ? dot + 1 : "", op_signature(b->arena, op));
}

/* ---- all sections ---- */

static void read_key(Build *b, const Setting *s, const Key *keys, int n) {
    const char *all[24];
    for (int i = 0; i < n; i++) {
        all[i] = keys[i].name;
        if (eq(keys[i].name, s->key)) {
            keys[i].read(b, s);
            return;
        }
    }
    Diag *d =
        diag_error(b->diag, s->key_loc, "E0117", "%s has no setting '%s'", s->section, s->key);
    diag_suggest(d, s->key_loc, nearest_name(s->key, all, n));
    StrBuf list = sb_new(b->arena);
    for (int i = 0; i < n; i++)
        sb_printf(&list, "%s%s", i ? ", " : "", all[i]);
    diag_help(d, "it has %s", list.text);
    static const char *const rates[] = {"lr", "learning_rate", "momentum", "decay", "weight_decay",
                                        "nesterov", "beta1"};
    for (size_t i = 0; i < sizeof rates / sizeof *rates && eq(s->section, "train"); i++)
        if (eq(s->key, rates[i]))
            diag_help(d, "rates are arguments of the optimizer: optimizer = sgd(lr = 0.01, "
                         "momentum = 0.9, decay = 5e-4)");
}

static void start(Build *b) {
    rt_train_spec *t = &b->m->train;
    *t = (rt_train_spec){.lr = 0.01, .batch = 32, .epochs = 10, .seed = 1, .checkpoint_epochs = 1};
    t->schedule.factor = 1;
    t->schedule.every = 1;
    for (int k = 0; k < b->m->ninputs; k++) {
        ModelInput *in = &b->m->input[k];
        bool image = in->shape.rank == 3;
        in->prep = (rt_input_spec){.name = in->name,
                                   .c = in->shape.dim[0],
                                   .h = image ? in->shape.dim[1] * shape_frames(&in->shape) : 1,
                                   .w = image ? in->shape.dim[2] : 1,
                                   .frames = (int32_t)shape_frames(&in->shape),
                                   .lo = 0,
                                   .hi = 1};
        for (int i = 0; i < 4; i++)
            in->prep.std[i] = 1;
    }
}

/* Later settings of the same key override, so only the last one is read. */
static bool overridden(const Net *net, int at) {
    const Setting *s = &net->settings.data[at];
    for (int i = at + 1; i < net->settings.len && !s->job; i++)
        if (eq(net->settings.data[i].section, s->section) && eq(net->settings.data[i].key, s->key))
            return true;
    return false;
}

void sema_sections(Build *b) {
    start(b);
    for (int i = 0; i < b->net->settings.len; i++) {
        const Setting *s = &b->net->settings.data[i];
        if (overridden(b->net, i))
            continue;
        if (eq(s->section, "data") && b->m->ninputs) {
            b->m->has_data = true;
            read_key(b, s, data_keys, (int)(sizeof data_keys / sizeof *data_keys));
        } else if (eq(s->section, "train")) {
            b->m->has_train = true;
            read_key(b, s, train_keys, (int)(sizeof train_keys / sizeof *train_keys));
        } else if (eq(s->section, "predict")) {
            not_built(b, s->key_loc, arena_printf(b->arena, "predict { %s }", s->key),
                      "the data section's preprocessing is used for prediction too");
        } else if (eq(s->section, "defaults")) {
            check_default(b, s);
        }
    }
}
