/* rt_cue.c: does a network go by shape or by texture?  Pictures with the shape of one thing and the
 * texture of another (made by style transfer), and what is predicted for them.
 *
 * theory: Geirhos et al. 2019, section 2: of the pictures for which shape or texture is predicted, the
 * share of shape.  A file is called SHAPE-TEXTURE with words of class names, or class numbers; digits
 * behind a word are left out (cat1-elephant3.png).  Data without such names have them in a table.  A
 * word stands for every class in whose name it is a whole word, and has the sum of their probabilities.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_lines.h"
#include "rt_sheet.h"
#include "rt_viz.h"

enum { WORD = 64, SHOWN = 32 };

static struct {
    const char *cues;
} options = {NULL};

typedef struct Cue {
    char word[2][WORD];     /* shape, texture */
    double sum[2];          /* probabilities */
    int hit[2];             /* the class predicted is one of the word's */
} Cue;

typedef struct Line { /* of the table */
    int64_t picture;
    char word[2][WORD];
} Line;

typedef struct Cues {
    rt_viz *v;
    Line *line;  /* NULL: files say it by their names */
    int64_t lines, at; /* at: of the picture at hand, no earlier one */
    rt_feed feed;
    float *probs;
    rt_sheet sheet;
    rt_text csv;
    int64_t shown, count[3]; /* shape, texture, neither */
} Cues;

/* Is `word` a whole word of `name`? */
static int has_word(const char *name, const char *word) {
    size_t n = strlen(word);
    for (const char *s = name; *s; s++)
        if (strncasecmp(s, word, n) == 0 && (s == name || !isalnum((unsigned char)s[-1])) &&
            !isalnum((unsigned char)s[n]))
            return 1;
    return 0;
}

static int all_digits(const char *word) {
    return *word && word[strspn(word, "0123456789")] == 0;
}

/* One half of a file's name; _ is a blank. */
static void take_word(char *word, const char *from, size_t n) {
    n = n < WORD - 1 ? n : WORD - 1;
    memcpy(word, from, n);
    word[n] = 0;
    for (char *s = word; *s; s++)
        *s = *s == '_' ? ' ' : *s;
    if (!all_digits(word))
        while (n > 0 && isdigit((unsigned char)word[n - 1]))
            word[--n] = 0;
}

/* 0: the name is not SHAPE-TEXTURE. */
static int parse_name(const char *path, Cue *c) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const char *dash = strchr(name, '-'), *dot = strrchr(name, '.');
    if (!dash || dash == name || !dot || dot <= dash + 1)
        return 0;
    take_word(c->word[0], name, (size_t)(dash - name));
    take_word(c->word[1], dash + 1, (size_t)(dot - dash - 1));
    return c->word[0][0] && c->word[1][0];
}

/* ---- the table ---- */

/* -1: there is no such picture. */
static int64_t picture_named(const Cues *a, const char *name) {
    int64_t number, count = rt_data_count(a->feed.ds);
    char own[256];
    for (int64_t i = 0; i < count; i++) {
        rt_viz_sample_name(&a->feed, i, own, sizeof own);
        if (strcmp(own, name) == 0)
            return i;
    }
    return rt_parse_int(name, &number) && number >= 0 && number < count ? number : -1;
}

static int read_line(Cues *a, const struct rt_lines *l, int64_t i, rt_error *err) {
    char *field[3];
    const char *why = "three fields are expected";
    Line *line = &a->line[a->lines];
    if (rt_fields(l->at[i], ',', field, 3) == 3) {
        if (i == 0 && strcmp(field[0], "picture") == 0)
            return NETRT_OK;
        for (int k = 0; k < 2; k++)
            take_word(line->word[k], field[1 + k], strlen(field[1 + k]));
        line->picture = picture_named(a, field[0]);
        why = line->picture < 0 ? "there is no such picture" : "a word is missing";
        if (line->picture >= 0 && line->word[0][0] && line->word[1][0]) {
            a->lines++;
            return NETRT_OK;
        }
    }
    return rt_fail(err, NETRT_EDATA, "%s:%d: %s\nhelp: lines are picture,shape,texture; picture: a "
                   "file's name or a number from 0; the others: words of class names, or class "
                   "numbers", options.cues, l->line[i], why);
}

static int read_table(Cues *a, rt_error *err) {
    struct rt_lines lines = {0};
    if (rt_lines_read(&lines, options.cues, '#', err) == 0)
        a->line = rt_alloc((size_t)lines.n + 1, sizeof *a->line, "table of cues", err);
    for (int64_t i = 0; a->line && i < lines.n && !err->code; i++)
        read_line(a, &lines, i, err);
    rt_lines_free(&lines);
    if (!err->code && a->lines == 0)
        rt_fail(err, NETRT_EDATA, "%s has no line\nhelp: lines are picture,shape,texture",
                options.cues);
    return err->code;
}

static int is_class(const netrt *m, int64_t i, const char *word) {
    char buf[24];
    if (all_digits(word))
        return strtoll(word, NULL, 10) == i;
    return has_word(netrt_class_name(m, i, buf), word);
}

/* Probabilities of both words in a->probs. */
static int weigh(Cues *a, Cue *c, rt_error *err) {
    const netrt *m = a->v->m;
    int64_t best = rt_best(m->model, a->probs);
    for (int k = 0; k < 2; k++) {
        int64_t found = 0;
        for (int64_t i = 0; i < m->model->classes; i++)
            if (is_class(m, i, c->word[k])) {
                found++;
                c->sum[k] += (double)a->probs[i];
                c->hit[k] |= i == best;
            }
        if (!found)
            return rt_fail(err, NETRT_EUSAGE, "no class is called '%s'\nhelp: name the files by words "
                           "of class names, cat-elephant.png, or by class numbers, 3-8.png",
                           c->word[k]);
    }
    return NETRT_OK;
}

static int one(Cues *a, int64_t i, rt_error *err) {
    static const char *const said[3] = {"shape", "texture", "neither"};
    Cue c = {.sum = {0}};
    rt_image tile = {0};
    char path[256], text[200], buf[24];
    rt_viz_sample_name(&a->feed, a->feed.index[i], path, sizeof path);
    while (a->line && a->line[a->at].picture != a->feed.index[i])
        a->at++; /* pictures that cannot be read are left out */
    if (a->line)
        memcpy(c.word, a->line[a->at++].word, sizeof c.word);
    else if (!parse_name(path, &c))
        return rt_fail(err, NETRT_EUSAGE, "%s is not called SHAPE-TEXTURE\nhelp: cat-elephant.png is "
                       "a cat with the skin of an elephant; for other data --cues=FILE has lines "
                       "picture,shape,texture", path);
    rt_viz_answer(a->v, i, a->probs);
    if (weigh(a, &c, err))
        return err->code;
    int same = strcasecmp(c.word[0], c.word[1]) == 0; /* no conflict: not counted */
    int what = c.hit[0] && !same ? 0 : c.hit[1] && !same ? 1 : 2;
    a->count[what] += !same;
    rt_text_printf(&a->csv, "%s,%s,%s,%.9g,%.9g,%s,%s\n", path, c.word[0], c.word[1], c.sum[0], c.sum[1],
                   netrt_class_name(a->v->m, rt_best(a->v->m->model, a->probs), buf),
                   same ? "no conflict" : said[what]);
    int64_t at = a->shown++;
    if (at >= SHOWN)
        return NETRT_OK;
    snprintf(text, sizeof text, "shape %.40s\n  %.3g %%\ntexture %.40s\n  %.3g %%", c.word[0],
             100 * c.sum[0], c.word[1], 100 * c.sum[1]);
    if (rt_prep_invert(&a->v->prep, a->feed.input[0] + i * rt_input_count(a->v->m->model, 0), &tile,
                       err) == 0)
        rt_sheet_put(&a->sheet, (int)(at % a->sheet.columns), (int)(at / a->sheet.columns), &tile,
                     text);
    rt_image_free(&tile);
    return err->code;
}

static int64_t load(Cues *a, int64_t first, int64_t want) {
    int64_t list[64];
    if (!a->line)
        return rt_feed_load_range(&a->feed, first, want, rt_cli_skipped, &a->v->cli);
    for (int64_t i = 0; i < want; i++)
        list[i] = a->line[first + i].picture;
    return rt_feed_load(&a->feed, list, want, -1, rt_cli_skipped, &a->v->cli);
}

static int all(Cues *a, rt_error *err) {
    int64_t total = a->line ? a->lines : rt_data_count(a->feed.ds), cap = a->v->look.cap;
    cap = cap < 64 ? cap : 64;
    total = a->v->limit > 0 && a->v->limit < total ? a->v->limit : total;
    int64_t tiles = total < SHOWN ? total : SHOWN;
    int columns = rt_sheet_columns(tiles, 8);
    rt_text_add(&a->csv, "picture,shape,texture,probability_shape,probability_texture,predicted,answer\n");
    if (rt_sheet_open(&a->sheet, "shape or texture", "probabilities of both, summed over the classes of "
                      "that name", columns, (int)((tiles + columns - 1) / columns),
                      a->v->prep.width, a->v->prep.height, 120, 4, err))
        return err->code;
    for (int64_t first = 0; first < total && !err->code; first += cap) {
        int64_t want = total - first < cap ? total - first : cap;
        if (rt_cli_signal)
            return rt_fail(err, 128 + rt_cli_signal, "stopped");
        int64_t n = load(a, first, want);
        if (n < 0)
            return rt_fail(err, a->feed.failure.code, "%s", a->feed.failure.text);
        if (n > 0 && rt_look_record(&a->v->look, n, err))
            return err->code;
        for (int64_t i = 0; i < n && !err->code; i++)
            one(a, i, err);
    }
    return err->code;
}

static int run(rt_viz *v, const char **operands, int n, rt_error *err) {
    Cues a = {.v = v};
    char note[200];
    if (rt_viz_open(v, 1, err) == 0 && rt_viz_feed(v, operands, n, &a.feed, err) == 0) {
        int64_t classes = v->m->model->classes;
        if (classes < 2 || rt_viz_score(v, err) < 0)
            rt_fail(err, NETRT_EUSAGE, "%s has no classes\nhelp: `%s maximize` shows what a layer "
                    "looks for", v->m->model->name, v->cli.program);
        else
            a.probs = rt_alloc_zero((size_t)classes, sizeof *a.probs, "scores", err);
    }
    if (!err->code && options.cues)
        read_table(&a, err);
    if (!err->code && all(&a, err) == 0) {
        int64_t both = a.count[0] + a.count[1];
        snprintf(note, sizeof note, "shape %lld, texture %lld, neither %lld: shape bias %.1f %%",
                 (long long)a.count[0], (long long)a.count[1], (long long)a.count[2],
                 both ? 100.0 * (double)a.count[0] / (double)both : 0.0);
        if (rt_viz_write(v, &a.sheet.canvas, "cue", "shape or texture", note, err) == 0)
            rt_viz_write_text(v, &a.csv, "cue", "shape or texture", err);
    }
    rt_sheet_close(&a.sheet);
    rt_text_free(&a.csv);
    rt_free(a.probs);
    rt_free(a.line);
    rt_viz_feed_close(v, &a.feed);
    return err->code;
}

static const rt_arg args[] = {
    {NULL, 0, RT_ARG_REST, NULL, NULL, 0, 0, "Shape and texture"},
    {"cues", 0, RT_ARG_TEXT, "FILE", &options.cues, 0, 0,
     "a table, picture,shape,texture (default: files are called SHAPE-TEXTURE)"},
};

const rt_technique rt_technique_cue = {
    {"cue", "shape or texture? pictures named SHAPE-TEXTURE", "[OPTIONS] [FOLDER]",
     "cue conflicts\ncue conflicts --limit=100\ncue --cues=pairs.csv --data=npy:made.npy"},
    run, args, sizeof args / sizeof *args};
