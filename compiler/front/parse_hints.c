/* parse_hints.c: what to do about a syntax error: the missing comma, colon, arrow, bracket or ';', and
 * words of other languages.
 *
 * requires: the token is the last one read, so previous_loc is the one in front of it.
 * ensures: at most one help; an edit goes with it where there is no doubt what was meant.
 */
#include "front/parse_state.h"

#include <string.h>
#include <strings.h>

#include "net.tab.h"

typedef struct Hint {
    ParseState *st;
    Diag *diag;
    int token;
    LocRange loc;
    const char *const *expected;
    int count;
    const char *text, *before; /* of the token and of the one in front of it */
} Hint;

static const char *text_at(ParseState *st, LocRange loc) {
    int length;
    const char *text = loc.end ? token_text(st, loc, &length) : "";
    return loc.end ? arena_strndup(st->run->arena, text, (size_t)(length < 40 ? length : 40)) : "";
}

static bool expects(const Hint *h, const char *name) {
    for (int i = 0; i < h->count; i++)
        if (strcmp(h->expected[i], name) == 0)
            return true;
    return false;
}

static bool is_word(int token) {
    return token == T_ID || token == T_SECTION || (token >= T_INCLUDE && token <= T_BEFORE) ||
           token == T_LOSS || token == T_METRIC;
}

static bool is_one_of(const char *text, const char *const *words) {
    for (int i = 0; words[i]; i++)
        if (strcasecmp(text, words[i]) == 0)
            return true;
    return false;
}

static void insert(Hint *h, const char *what) {
    LocRange at = {h->st->previous_loc.end, h->st->previous_loc.end};
    diag_fixit(h->diag, at, what);
}

/* Inside ( or [. */
static bool in_brackets(Hint *h) {
    const OpenBracket *open =
        h->st->open_count ? &h->st->open[h->st->open_count - 1] : &(OpenBracket){0};
    if (open->token != '(' && open->token != '[')
        return false;
    if (h->token == T_ARROW && open->token == '(') {
        diag_note(h->diag, (LocRange){open->loc, open->loc + 1}, "'(' opened here");
        diag_help(h->diag, "a ')' is missing in front of '->'");
        insert(h, ")");
        return true;
    }
    bool value = is_word(h->token) || h->token == T_NUM || h->token == T_DIM || h->token == T_STR ||
                 h->token == '(' || h->token == '[';
    if (!value || !expects(h, "','") || !h->st->previous_loc.end)
        return false;
    diag_help(h->diag, "a ',' is missing in front of %s", h->text);
    insert(h, ",");
    return true;
}

/* Words of other languages, at the begin of a statement or of the file. */
static bool foreign(Hint *h) {
    static const char *const loops[] = {"for", "while", "foreach", "loop", NULL},
                             *const nets[] = {"net",    "network", "model", "module",
                                           "class",  "graph",   "def",   NULL};
    if (h->st->open_count == 0 && expects(h, "'net'") && is_one_of(h->text, nets)) {
        diag_help(h->diag, "a network is written net NAME { .. }");
        diag_fixit(h->diag, h->loc, "net");
        return true;
    }
    if (is_one_of(h->before, loops) && is_word(h->token)) {
        diag_help(h->diag, "statements are repeated by: repeat i in 1..3 { .. }");
        return true;
    }
    if (h->token == '*' && expects(h, "'..'") && expects(h, "','")) {
        diag_help(h->diag, "a pattern of labels stands in quotes: \"%s*\"", h->before);
        return true;
    }
    if (expects(h, "'after'") && expects(h, "'before'")) {
        diag_help(h->diag, "it is written insert CHAIN after LABEL, or insert CHAIN before LABEL");
        return true;
    }
    return false;
}

/* Types, losses, bodies: a certain bracket or sign must follow. */
static bool wrong_bracket(Hint *h) {
    if (h->token == '(' && expects(h, "'['") &&
        (strcmp(h->before, "class") == 0 || strcmp(h->before, "f32") == 0)) {
        diag_help(h->diag, "sizes of a type stand in square brackets: %s",
                  strcmp(h->before, "class") == 0 ? "class[10]" : "f32[3, 32, 32]");
        return true;
    }
    if (h->token == '(' && h->count == 1 && expects(h, "':'")) {
        diag_help(h->diag, "losses and metrics have names: loss NAME: %s(..)", h->before);
        return true;
    }
    if (expects(h, "'{'") && is_word(h->token) && h->st->open_count > 0 && !expects(h, "'->'")) {
        diag_help(h->diag, "what is repeated or chosen stands in { .. }");
        return true;
    }
    return false;
}

/* Between statements, stages and settings. */
static bool between(Hint *h) {
    bool same_line = h->st->previous_loc.end &&
                     source_pos(h->st->run->sources, h->st->previous_loc.end).line ==
                         source_pos(h->st->run->sources, h->loc.begin).line;
    if (h->token == '>' && expects(h, "'->'")) {
        diag_help(h->diag, "stages are joined by '->'");
        diag_fixit(h->diag, h->loc, "->");
        return true;
    }
    if (h->token == ',' && expects(h, "'->'")) {
        diag_help(h->diag, "stages are joined by '->'; a statement ends with its line or with ';'");
        return true;
    }
    if (h->token == T_ID && same_line && expects(h, "':'")) {
        diag_help(h->diag, "a label is followed by ':', an operation's arguments stand in ( )");
        return true;
    }
    if ((h->token == T_NUM || h->token == T_DIM || h->token == T_STR) && expects(h, "'('")) {
        diag_help(h->diag, "an operation's arguments stand in ( ): %s(%s)", h->before, h->text);
        return true;
    }
    if (is_word(h->token) && same_line && expects(h, "end of statement")) {
        diag_help(h->diag, "what stands on one line is separated by ';'");
        insert(h, ";");
        return true;
    }
    return false;
}

void syntax_hints(ParseState *st, Diag *diag, int token, LocRange loc, const char *const *expected,
                  int count) {
    Hint h = {st, diag, token, loc, expected, count, text_at(st, loc), text_at(st, st->previous_loc)};
    if (!in_brackets(&h) && !foreign(&h) && !wrong_bracket(&h))
        between(&h);
}
