/* sema_data.c: sources of data with arguments: csv("f", label = last), wav("DIR", window = 256).
 *
 * They become the names that runtime/rt_data.h opens: KIND:PATH?key=value&key=value.
 *
 * requires: a call whose name is_source_kind knows.  ensures: every key is one the runtime reads,
 * its value in range; no part of a path can be taken for a key.
 */
#include <string.h>

#include "front/sema.h"

static const char *const kinds[] = {"csv", "npy", "ts", "wav", "text"};

bool is_source_kind(const char *name) {
    for (int k = 0; k < 5; k++)
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

const char *source_of_kind(Build *b, const Val *v) {
    /* the path, what every kind takes, then what some take */
    static const char *const plain[] = {"path", "hold", "fold", "folds"},
                             *const csv[] = {"path", "hold", "fold", "folds", "label"},
                             *const wav[] = {"path", "hold", "fold", "folds", "window", "hop"},
                             *const text[] = {"path", "hold", "fold", "folds", "alphabet"};
    bool is_csv = eq(v->text, "csv"), is_wav = eq(v->text, "wav"), is_text = eq(v->text, "text");
    Val a[6];
    StrBuf keys = sb_new(b->arena);
    if (!call_args(b, v,
                   is_csv    ? csv
                   : is_wav  ? wav
                   : is_text ? text
                             : plain,
                   is_wav              ? 6
                   : is_csv || is_text ? 5
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
    }
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
} Change;

static const Change changes[] = {
    {"translate", RT_AUGMENT_TRANSLATE, 1, 0, 1e4}, {"zoom", RT_AUGMENT_SCALE_LO, 2, 0.1, 10},
    {"rotate", RT_AUGMENT_ROTATE, 1, 0, 180},       {"shear", RT_AUGMENT_SHEAR, 1, 0, 60},
    {"brightness", RT_AUGMENT_BRIGHTNESS, 1, 0, 1}, {"contrast", RT_AUGMENT_CONTRAST, 1, 0, 1},
    {"colour", RT_AUGMENT_COLOUR, 1, 0, 1},
};
enum { CHANGES = sizeof changes / sizeof changes[0] };

static void one_change(Build *b, const Val *v, float *out) {
    static const char *const names[] = {"most", "high"}, *const two[] = {"low", "high"};
    const char *known[CHANGES];
    for (int k = 0; k < CHANGES; k++) {
        const Change *c = &changes[k];
        Val a[2];
        double x;
        known[k] = c->name;
        if (v->kind != V_CALL || !eq(v->text, c->name))
            continue;
        if (!call_args(b, v, c->args == 2 ? two : names, c->args, c->args, a))
            return;
        for (int i = 0; i < c->args; i++)
            if (expr_num(b, &a[i], c->name, &x)) {
                if (!(x >= c->lo && x <= c->hi))
                    diag_error(b->diag, a[i].loc, "E0303",
                               "%s must be between %.10g and %.10g, got %.10g", c->name, c->lo,
                               c->hi, x);
                else
                    out[c->at + i] = (float)x;
            }
        if (c->args == 2 && out[c->at] > out[c->at + 1])
            diag_error(b->diag, v->loc, "E0303", "%s from %g to %g", c->name, (double)out[c->at],
                       (double)out[c->at + 1]);
        return;
    }
    if (v->kind == V_BAD)
        return;
    Diag *d = diag_error(b->diag, v->loc, "E0106",
                         "augment is a list of translate(pixels), zoom(low, high), "
                         "rotate(degrees), shear(degrees), brightness(share), contrast(share) and "
                         "colour(share)");
    if (v->kind == V_CALL)
        diag_suggest(d, v->ast->call.callee->loc, nearest_name(v->text, known, CHANGES));
}

void sema_augment(Build *b, const Val *v, float *out) {
    if (v->kind != V_LIST) {
        one_change(b, v, out);
        return;
    }
    for (int i = 0; i < v->n; i++)
        one_change(b, &v->at[i], out);
}
