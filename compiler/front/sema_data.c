/* sema_data.c: sources of data with arguments: csv("f", label = last), wav("DIR", window = 256).
 *
 * They become the names that runtime/rt_data.h opens: KIND:PATH?key=value&key=value.
 *
 * requires: a call whose name is_source_kind knows.  ensures: every key is one the runtime reads,
 * its value in range; no part of a path can be taken for a key.
 */
#include <string.h>

#include "front/sema.h"

static const char *const kinds[] = {"csv", "npy", "ts", "wav", "text", "cifar100", "maps"};

bool is_source_kind(const char *name) {
    for (int k = 0; k < 7; k++)
        if (eq(name, kinds[k]))
            return true;
    return false;
}

static bool plain_text(Build *b, const Val *v, const char *what, bool path) {
    if (v->kind == V_BAD)
        return false;
    if (v->kind != V_STR || !*v->text || strlen(v->text) > 200 + (path ? 3000 : 0)) {
        diag_error(b->diag, v->loc, "E0111", "%s is a text in quotes", what);
        return false;
    }
    if (strpbrk(v->text, path ? "?" : "?&") == NULL)
        return true;
    diag_error(b->diag, v->loc, "E0111", "%s must not hold '?'%s", what, path ? "" : " or '&'");
    return false;
}

/* hold = 20%, hold = "GLOB", fold = 1, folds = 10 */
static void part(Build *b, const Val *hold, const Val *fold, const Val *folds, StrBuf *uri) {
    int64_t i, k = 10;
    double share;
    if (hold->kind == V_STR) {
        if (plain_text(b, hold, "hold", false))
            sb_printf(uri, "&hold=%s", hold->text);
    } else if (hold->kind != V_BAD && expr_num(b, hold, "hold", &share)) {
        if (share > 0 && share < 1)
            sb_printf(uri, "&hold=%.10g", share * 100);
        else
            diag_error(b->diag, hold->loc, "E0303",
                       "hold is a share between 0%% and 100%%, or a pattern of names in quotes");
    }
    if (fold->kind != V_BAD && expr_int(b, fold, "fold", 1, 1000000, &i) &&
        (folds->kind == V_BAD || expr_int(b, folds, "folds", 2, 1000000, &k))) {
        if (i <= k)
            sb_printf(uri, "&fold=%lld/%lld", (long long)i, (long long)k);
        else
            diag_error(b->diag, fold->loc, "E0303", "fold %lld of %lld", (long long)i,
                       (long long)k);
    }
}

/* label = "last", label = "NAME", label = 3 (from 1) */
static void label_column(Build *b, const Val *v, StrBuf *uri) {
    int64_t i;
    if (v->kind == V_STR) {
        if (plain_text(b, v, "label", false))
            sb_printf(uri, "&label=%s", v->text);
    } else if (v->kind == V_NAME && (eq(v->text, "first") || eq(v->text, "last"))) {
        sb_printf(uri, "&label=%s", v->text);
    } else if (v->kind != V_BAD && expr_int(b, v, "label", 1, 1 << 20, &i)) {
        sb_printf(uri, "&label=%lld", (long long)i);
    }
}

static void number(Build *b, const Val *v, const char *what, int64_t lo, int64_t hi, StrBuf *uri) {
    int64_t i;
    if (v->kind != V_BAD && expr_int(b, v, what, lo, hi, &i))
        sb_printf(uri, "&%s=%lld", what, (long long)i);
}

/* One of two names, with or without quotes. */
static void word(Build *b, const Val *v, const char *what, const char *one, const char *other,
                 StrBuf *uri) {
    if (v->kind == V_BAD)
        return;
    if ((v->kind == V_NAME || v->kind == V_STR) && (eq(v->text, one) || eq(v->text, other)))
        sb_printf(uri, "&%s=%s", what, v->text);
    else
        diag_error(b->diag, v->loc, "E0106", "%s is %s or %s", what, one, other);
}

const char *source_of_kind(Build *b, const Val *v) {
    /* the path, what every kind takes, then what some take */
    static const char *const plain[] = {"path", "hold", "fold", "folds"},
                             *const csv[] = {"path", "hold", "fold", "folds", "label"},
                             *const wav[] = {"path", "hold",  "fold", "folds", "window",
                                             "hop",  "scale", "low",  "high"},
                             *const cifar[] = {"path", "hold", "fold", "folds", "labels"},
                             *const maps[] = {"path", "hold", "fold", "folds", "ignore"},
                             *const text[] = {"path", "hold", "fold", "folds", "alphabet"};
    bool is_csv = eq(v->text, "csv"), is_wav = eq(v->text, "wav"), is_text = eq(v->text, "text");
    bool is_cifar = eq(v->text, "cifar100"), is_maps = eq(v->text, "maps");
    Val a[9];
    StrBuf keys = sb_new(b->arena);
    if (!call_args(b, v,
                   is_csv     ? csv
                   : is_wav   ? wav
                   : is_text  ? text
                   : is_cifar ? cifar
                   : is_maps  ? maps
                              : plain,
                   is_wav                                     ? 9
                   : is_csv || is_text || is_cifar || is_maps ? 5
                                                              : 4,
                   1, a) ||
        !plain_text(b, &a[0], arena_printf(b->arena, "the path of %s", v->text), true))
        return NULL;
    part(b, &a[1], &a[2], &a[3], &keys);
    if (is_csv)
        label_column(b, &a[4], &keys);
    if (is_wav) {
        number(b, &a[4], "window", 16, 8192, &keys);
        number(b, &a[5], "hop", 1, 65536, &keys);
        word(b, &a[6], "scale", "mel", "linear", &keys);
        number(b, &a[7], "low", 0, 500000, &keys);
        number(b, &a[8], "high", 1, 500000, &keys);
    }
    if (is_maps)
        number(b, &a[4], "ignore", 0, 255, &keys);
    if (is_cifar)
        word(b, &a[4], "labels", "fine", "coarse", &keys);
    if (is_text && plain_text(b, &a[4], "alphabet", false))
        sb_printf(&keys, "&alphabet=%s", a[4].text);
    return arena_printf(b->arena, "%s:%s%s%s", v->text, a[0].text, keys.length ? "?" : "",
                        keys.length ? keys.text + 1 : "");
}

/* ---- augment ---- */

typedef struct Change {
    const char *name;
    int at, args;
    double lo, hi; /* of an amount */
    const char *arg[2];
} Change;

static const Change changes[] = {
    {"translate", RT_AUGMENT_TRANSLATE, 1, 0, 1e4, {"most"}},
    {"zoom", RT_AUGMENT_SCALE_LO, 2, 0.1, 10, {"low", "high"}},
    {"rotate", RT_AUGMENT_ROTATE, 1, 0, 180, {"most"}},
    {"shear", RT_AUGMENT_SHEAR, 1, 0, 60, {"most"}},
    {"brightness", RT_AUGMENT_BRIGHTNESS, 1, 0, 1, {"most"}},
    {"contrast", RT_AUGMENT_CONTRAST, 1, 0, 1, {"most"}},
    {"colour", RT_AUGMENT_COLOUR, 1, 0, 1, {"most"}},
    {"elastic", RT_AUGMENT_ELASTIC, 2, 0, 1e4, {"alpha", "sigma"}},
    {"random_crop", RT_AUGMENT_CROP, 1, 0, 1e4, {"border"}},
    {"random_area", RT_AUGMENT_AREA_LO, 2, 1e-4, 1, {"low", "high"}},
    {"scale_jitter", RT_AUGMENT_SHORT_LO, 2, 1, 65535, {"low", "high"}},
    {"pca_colour", RT_AUGMENT_PCA, 1, 0, 100, {"std"}},
    {"time_shift", RT_AUGMENT_SHIFT, 1, 0, 1e4, {"seconds"}},
    {"gain", RT_AUGMENT_GAIN, 1, 0, 60, {"decibels"}},
};
enum { CHANGES = sizeof changes / sizeof changes[0], MAX_SIGMA = 64 };

/* pca_colour(std, values = [3 numbers], vectors = [9 numbers, a row per colour]) */
static void pca_colour(Build *b, const Val *v, float *out) {
    static const char *const names[] = {"std", "values", "vectors"};
    Val a[3];
    double x, value[3], vector[9];
    if (!call_args(b, v, names, 3, 1, a) || !expr_num(b, &a[0], "pca_colour", &x))
        return;
    if (!(x >= 0 && x <= 100)) {
        diag_error(b->diag, a[0].loc, "E0303", "pca_colour must be between 0 and 100, got %.10g",
                   x);
        return;
    }
    out[RT_AUGMENT_PCA] = (float)x;
    if (a[1].kind == V_BAD && a[2].kind == V_BAD)
        return;
    if (a[1].kind != V_LIST || a[1].n != 3 || a[2].kind != V_LIST || a[2].n != 9) {
        diag_error(b->diag, v->loc, "E0111",
                   "pca_colour takes values = [3 numbers] and vectors = [9 numbers, a row per "
                   "colour], or neither: then they are the training set's");
        return;
    }
    for (int k = 0; k < 3; k++)
        if (!expr_num(b, &a[1].at[k], "an eigenvalue", &value[k]))
            return;
    for (int k = 0; k < 9; k++)
        if (!expr_num(b, &a[2].at[k], "an eigenvector", &vector[k]))
            return;
    for (int k = 0; k < 9; k++)
        out[RT_AUGMENT_PCA_MATRIX + k] = (float)(vector[k] * value[k % 3]);
}

/* What a number of this change must be besides being between its bounds. */
static bool amount_fits(Build *b, const Change *c, const Val *v, int i, double x) {
    double hi = c->at == RT_AUGMENT_ELASTIC && i == 1 ? (double)MAX_SIGMA : c->hi;
    bool whole = c->at == RT_AUGMENT_CROP || c->at == RT_AUGMENT_SHORT_LO;
    if (!(x >= c->lo && x <= hi))
        diag_error(b->diag, v->loc, "E0303", "%s must be between %.10g and %.10g, got %.10g",
                   c->name, c->lo, hi, x);
    else if (whole && x != (double)(int)x)
        diag_error(b->diag, v->loc, "E0303", "%s takes whole pixels, got %.10g", c->name, x);
    else
        return true;
    return false;
}

static void read_change(Build *b, const Change *c, const Val *v, float *out) {
    Val a[2];
    double x;
    if (!call_args(b, v, c->arg, c->args, c->args, a))
        return;
    for (int i = 0; i < c->args; i++)
        if (expr_num(b, &a[i], c->name, &x) && amount_fits(b, c, &a[i], i, x))
            out[c->at + i] = (float)(c->at == RT_AUGMENT_CROP ? x + 1 : x);
    bool range = c->args == 2 && c->at != RT_AUGMENT_ELASTIC;
    if (range && out[c->at] > out[c->at + 1])
        diag_error(b->diag, v->loc, "E0303", "%s from %g to %g", c->name, (double)out[c->at],
                   (double)out[c->at + 1]);
}

static void one_change(Build *b, const Val *v, float *out) {
    const char *known[CHANGES];
    for (int k = 0; k < CHANGES; k++) {
        const Change *c = &changes[k];
        known[k] = c->name;
        if (v->kind != V_CALL || !eq(v->text, c->name))
            continue;
        if (c->at == RT_AUGMENT_PCA)
            pca_colour(b, v, out);
        else
            read_change(b, c, v, out);
        return;
    }
    if (v->kind == V_BAD)
        return;
    Diag *d = diag_error(b->diag, v->loc, "E0106",
                         "augment is a list of random_crop(border), random_area(low, high), "
                         "scale_jitter(low, high), translate(pixels), zoom(low, high), "
                         "rotate(degrees), shear(degrees), elastic(alpha, sigma), "
                         "pca_colour(std), colour(share), contrast(share), brightness(share), "
                         "time_shift(seconds) and gain(decibels)");
    for (int k = 0; k < CHANGES && v->kind == V_NAME; k++)
        if (eq(v->text, known[k]))
            diag_help(d, "'%s' lacks its amount", v->text);
    if ((v->kind == V_NAME || v->kind == V_CALL) && (eq(v->text, "flip") || eq(v->text, "mirror")))
        diag_help(d, "mirroring is a setting of its own: flip = yes");
    else if (v->kind == V_CALL)
        diag_suggest(d, v->ast->call.callee->loc, nearest_name(v->text, known, CHANGES));
}

/* Which part of the picture is seen can be said in one way only. */
static void one_place(Build *b, const Val *v, const float *a) {
    if (a[RT_AUGMENT_AREA_HI] > 0 && (a[RT_AUGMENT_CROP] > 0 || a[RT_AUGMENT_SHORT_HI] > 0))
        diag_error(b->diag, v->loc, "E0303",
                   "random_area already says which part of a picture is seen: leave out "
                   "random_crop and scale_jitter");
}

void sema_augment(Build *b, const Val *v, float *out) {
    if (v->kind != V_LIST)
        one_change(b, v, out);
    for (int i = 0; v->kind == V_LIST && i < v->n; i++)
        one_change(b, &v->at[i], out);
    one_place(b, v, out);
}
