/* parse_error.c: words syntax errors: what was found, what was expected, which bracket is open.
 *
 * requires: the expected tokens of a LAC parser, so the list is right.
 * ensures: one diagnostic per call, placed on the line that is wrong: a token missing at the end of a
 * line is reported there and not at the next line's first word.
 */
#include "front/parse_state.h"

#include <string.h>

#include "net.tab.h"

/* Sets of tokens that people call by one name.  Larger sets first: members are taken out. */
typedef struct Group {
    const char *name;
    const char *members[16];
} Group;

enum { EXPRESSION = 3, ONE_NAME = 5, ONE_STRING = 6 };
static const Group groups[] = {
    {"a layer, an input, a section or another part of a net",
     {"name", "'in'", "'['", "'input'", "'output'", "section", "'loss'", "'remove'", "'repeat'"}},
    {"a net, block, const, variants or include",
     {"'net'", "'block'", "'const'", "'variants'", "'include'"}},
    {"a statement", {"name", "'in'", "'['", "'repeat'", "'if'", "'out'"}},
    {"an expression", {"name", "number", "extent", "string", "'['", "'('", "'-'", "'!'", "'in'"}},
    {"an operation or a name", {"name", "'in'", "'['"}},
    {"a name", {"name"}},
    {"a string", {"string"}},
    {"an operator", {"'+'", "'-'", "'*'", "'/'", "'%'"}},
};

/* Names that go without saying once a group above was named. */
static const char *const implied[] = {
    "'const'",  "'freeze'", "'set'", "'replace'", "'insert'", "'metric'", "'param'",  "'if'",
    "'repeat'", "'out'",    "'||'",  "'&&'",      "'=='",     "'!='",     "'<='",     "'>='",
    "'<'",      "'>'",      "'..'",  "'.'",
};

/* What else may follow a name at the end of a statement is not what the reader forgot. */
static const char *const behind_name[] = {"'as'", "'['", "'.'", "'{'"};
static const char *const separators[] = {"end of statement", "end of file"};

#define LENGTH(array) (int)(sizeof(array) / sizeof *(array))

static int find_name(const char *const *names, int count, const char *name) {
    for (int i = 0; i < count; i++)
        if (names[i] && strcmp(names[i], name) == 0)
            return i;
    return -1;
}

static bool take_group(const char **names, int count, const Group *group) {
    int members = 0;

    while (members < 16 && group->members[members]) {
        if (find_name(names, count, group->members[members]) < 0)
            return false;
        members++;
    }
    for (int i = 0; i < members; i++)
        names[find_name(names, count, group->members[i])] = NULL;
    return true;
}

static void leave_out(const char **names, int count, const char *const *list, int length) {
    for (int i = 0; i < length; i++) {
        int at = find_name(names, count, list[i]);
        if (at >= 0)
            names[at] = NULL;
    }
}

/* "a, b or c" of what was expected; false when it is too much to say.
 * Bison quotes single characters itself ("'('"); our aliases look the same. */
static bool expected_words(StrBuf *out, const char *const *expected, int count) {
    enum { ROOM = 128, SHOWN = 6 };
    const char *names[ROOM], *words[ROOM];
    int word_count = 0;
    bool grouped = false;

    count = count > ROOM ? ROOM : count;
    for (int i = 0; i < count; i++)
        names[i] = strcmp(expected[i], "error") == 0 ? NULL : expected[i];
    for (int i = 0; i < LENGTH(groups); i++) {
        if (take_group(names, count, &groups[i])) {
            words[word_count++] = groups[i].name;
            grouped |= i != ONE_NAME && i != ONE_STRING; /* these imply nothing */
        }
    }
    if (grouped)
        leave_out(names, count, implied, LENGTH(implied));
    if (grouped && words[0] != groups[EXPRESSION].name)
        leave_out(names, count, separators, LENGTH(separators));
    if (find_name(names, count, "end of statement") >= 0)
        leave_out(names, count, behind_name, LENGTH(behind_name));
    for (int i = 0; i < count; i++)
        if (names[i])
            words[word_count++] = names[i];
    if (word_count == 0 || word_count > SHOWN)
        return false;
    for (int i = 0; i < word_count; i++)
        sb_printf(out, "%s%s", i == 0 ? "" : i + 1 == word_count ? " or " : ", ", words[i]);
    return true;
}

static bool is_keyword_token(int token) {
    return token >= T_INCLUDE && token <= T_BEFORE;
}

/* "name 'fc6'", "number 5", "'->'", "end of line" */
static const char *found_text(ParseState *st, int token, const char *unexpected, LocRange loc) {
    int length;
    const char *text = token_text(st, loc, &length);

    length = length > 40 ? 40 : length;
    if (token == T_SEP) {
        if (st->sep_for_held)
            return st->held.kind == '}' ? "'}'" : "end of file";
        return length > 0 && text[0] == ';' ? "';'" : "end of line";
    }
    if (token == T_ID || token == T_SECTION || is_keyword_token(token))
        return arena_printf(st->run->arena, "'%.*s'", length, text);
    if (token == T_NUM || token == T_DIM)
        return arena_printf(st->run->arena, "%s %.*s", unexpected, length, text);
    return unexpected;
}

static int line_of(const ParseState *st, Loc loc) {
    return source_pos(st->run->sources, loc).line;
}

/* The bracket that the reader should look at, if any. */
static OpenBracket guilty_bracket(const ParseState *st, int token, LocRange loc) {
    if (st->unclosed.token)
        return st->unclosed;
    if (st->open_count == 0 || st->open[st->open_count - 1].token == '{')
        return (OpenBracket){0};
    OpenBracket open = st->open[st->open_count - 1];
    bool ends = token == 0 || token == T_SEP || line_of(st, open.loc) != line_of(st, loc.begin);
    return ends ? open : (OpenBracket){0};
}

static void add_hints(ParseState *st, Diag *diag, int token, LocRange loc,
                      const char *const *expected, int count) {
    int length;
    const char *text = token_text(st, loc, &length);
    bool name_expected = find_name(expected, count, "name") >= 0;

    bool outer = token == T_NET || token == T_BLOCK || token == T_VARIANTS;
    if (outer && st->open_count > 0 && find_name(expected, count, "'repeat'") >= 0)
        diag_help(diag, "nets, blocks and variants stand side by side, not inside each other");
    else if (name_expected && token != T_ID && is_keyword_token(token))
        diag_help(diag, "'%.*s' is a keyword of the language; choose another name", length, text);
    else if (outer && st->open_count > 0)
        diag_help(diag, "nets, blocks and variants stand side by side, not inside each other");
    else if (token == '=' && st->header)
        diag_help(diag, "equality is written ==");
    else if (token == '}' && st->open_count == 0)
        diag_help(diag, "no '{' is open here");
    else if (token == '=' && st->last != 0 && st->open_count > 0 && !st->header)
        diag_help(diag, "a layer is written 'label: op(..)'; settings stand in a section such as "
                        "train { .. }");
    else
        syntax_hints(st, diag, token, loc, expected, count);
}

void report_syntax(ParseState *st, int token, const char *unexpected, LocRange loc,
                   const char *const *expected, int count) {
    StrBuf wanted = sb_new(st->run->arena);
    Diag *diag;
    OpenBracket open = guilty_bracket(st, token, loc);
    bool later_line = st->previous_loc.end && token != T_SEP && token != '}' &&
                      line_of(st, loc.begin) > line_of(st, st->previous_loc.end);
    bool after_previous = later_line && open.token;

    if (st->stop || st->bad_text) { /* the cause was reported, this is its echo */
        token_error_seen(st, token);
        return;
    }
    if (token == T_SEP && loc.end > loc.begin && st->file->text[loc.begin - st->file->base] != ';')
        loc = (LocRange){loc.begin, loc.begin}; /* caret behind the last character */
    const char *found = found_text(st, token, unexpected, loc);
    bool listed = expected_words(&wanted, expected, count);
    if (after_previous && listed) {
        LocRange end = {st->previous_loc.end, st->previous_loc.end};
        diag = diag_error(st->run->diag, end, "E0001", "expected %s before %s", wanted.text, found);
    } else {
        diag = diag_error(st->run->diag, loc, "E0001", "unexpected %s%s%s", found,
                          listed ? "; expected " : "", wanted.text);
    }
    if (open.token)
        diag_note(diag, (LocRange){open.loc, open.loc + 1}, "'%c' opened here", open.token);
    if (!after_previous)
        add_hints(st, diag, token, loc, expected, count);
    if (diag_full(st->run->diag))
        st->stop = true;
    token_error_seen(st, token);
}

void report_too_deep(ParseState *st, LocRange loc) {
    if (!st->stop) {
        Diag *diag = diag_error(st->run->diag, (LocRange){loc.begin, loc.begin}, "E0008",
                                "nested too deeply");
        diag_note(diag, LOC_NONE, "at most %d brackets may be open at once, and an expression may "
                                  "be at most %d operators high",
                  LIMIT_NESTING, LIMIT_AST_DEPTH);
    }
    st->stop = true;
}

void report_unclosed_brace(ParseState *st, Loc brace, const RawToken *before) {
    Diag *diag = diag_error(st->run->diag, (LocRange){brace, brace + 1}, "E0001",
                            "this '{' is never closed");

    if (before->kind == 0)
        diag_note(diag, LOC_NONE, "the file ends without the '}'");
    else
        diag_note(diag, before->loc, "'%s' cannot stand inside braces", before->name);
    diag_help(diag, "add '}' where the block ends");
}
