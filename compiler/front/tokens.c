/* tokens.c: stands between scanner and grammar: ends statements at newlines, decides what is a keyword.
 *
 * Newlines: inside ( and [ they mean nothing; elsewhere a newline behind a token that can end a
 * statement becomes SEP, unless the next token is -> or else.  A SEP is also made before '}' and the
 * end of the file.  Keywords: a word before '=' or behind '.' is always a name; section words, loss,
 * metric, set and the prepositions are keywords only where one can stand.
 *
 * requires: a scanner begun by net_scan_begin.  ensures: every '}' is preceded by SEP, '{' or '}'.
 */
#include "front/parse_state.h"

#include <ctype.h>
#include <string.h>

#include "net.tab.h"

int net_slex(NET_YSTYPE *value, LocRange *loc, void *scanner);
void net_scan_skip_block(ParseState *st);

typedef enum KeywordClass {
    K_ALWAYS,  /* a keyword everywhere */
    K_WORD,    /* at the start of a statement, before a word: loss ce: ..., set fc = .. */
    K_SECTION, /* at the start of a statement, before '{' or "word {" */
    K_MIDDLE   /* behind something that could end a statement: conv1 with .., x as y */
} KeywordClass;

static const struct Keyword {
    const char *text;
    int token;
    KeywordClass class;
} keywords[] = {
    {"include", T_INCLUDE, K_ALWAYS}, {"const", T_CONST, K_ALWAYS},
    {"block", T_BLOCK, K_ALWAYS},     {"net", T_NET, K_ALWAYS},
    {"variants", T_VARIANTS, K_ALWAYS}, {"extends", T_EXTENDS, K_ALWAYS},
    {"input", T_INPUT, K_ALWAYS},     {"output", T_OUTPUT, K_ALWAYS},
    {"param", T_PARAM, K_ALWAYS},     {"repeat", T_REPEAT, K_ALWAYS},
    {"if", T_IF, K_ALWAYS},           {"else", T_ELSE, K_ALWAYS},
    {"in", T_IN, K_ALWAYS},           {"out", T_OUT, K_ALWAYS},
    {"remove", T_REMOVE, K_ALWAYS},   {"freeze", T_FREEZE, K_ALWAYS},
    {"replace", T_REPLACE, K_ALWAYS}, {"insert", T_INSERT, K_ALWAYS},
    {"loss", T_LOSS, K_WORD},         {"metric", T_METRIC, K_WORD},
    {"set", T_SET, K_WORD},           {"defaults", T_SECTION, K_SECTION},
    {"data", T_SECTION, K_SECTION},   {"train", T_SECTION, K_SECTION},
    {"predict", T_SECTION, K_SECTION}, {"visualize", T_SECTION, K_SECTION},
    {"of", T_OF, K_MIDDLE},           {"as", T_AS, K_MIDDLE},
    {"with", T_WITH, K_MIDDLE},       {"after", T_AFTER, K_MIDDLE},
    {"before", T_BEFORE, K_MIDDLE},
};

static const struct Keyword *find_keyword(const char *word) {
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (strcmp(word, keywords[i].text) == 0)
            return &keywords[i];
    return NULL;
}

bool token_is_keyword_text(const char *word) {
    const struct Keyword *keyword = find_keyword(word);

    return keyword && keyword->class == K_ALWAYS;
}

const char *token_text(const ParseState *st, LocRange loc, int *length) {
    *length = (int)(loc.end - loc.begin);
    return st->file->text + (loc.begin - st->file->base);
}

static bool can_end_statement(int token) {
    return token == T_ID || token == T_NUM || token == T_DIM || token == T_STR || token == T_IN ||
           token == ')' || token == ']' || token == '}';
}

static bool at_statement_start(int last) {
    return last == 0 || last == T_SEP || last == '{' || last == '}' || last == T_START_FILE;
}

/* ---- looking at the text ahead (the scanner's own buffer is flex's business) ---- */
static const char *skip_blanks(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    return p;
}

/* Over blanks, newlines and comments. */
static const char *skip_space(const char *p, const char *end) {
    while (p < end) {
        if (*p == '#') {
            const char *newline = memchr(p, '\n', (size_t)(end - p));
            p = newline ? newline : end;
        } else if (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n') {
            p++;
        } else {
            break;
        }
    }
    return p;
}

static bool is_word_char(char c) {
    return isalnum((unsigned char)c) || c == '_';
}

static bool before_assignment(const ParseState *st) {
    const char *end = st->file->text + st->file->size;
    const char *p = skip_blanks(st->file->text + st->offset, end);

    return p < end && p[0] == '=' && !(p + 1 < end && p[1] == '=');
}

static bool before_block(const ParseState *st) {
    const char *end = st->file->text + st->file->size;
    const char *p = skip_space(st->file->text + st->offset, end);

    if (p < end && is_word_char(*p)) {
        while (p < end && is_word_char(*p))
            p++;
        p = skip_space(p, end);
    }
    return p < end && *p == '{';
}

static bool before_word(const ParseState *st) {
    const char *end = st->file->text + st->file->size;
    const char *here = st->file->text + st->offset;
    const char *p = skip_blanks(here, end);

    return p > here && p < end && is_word_char(*p);
}

/* The kind of a word read by the scanner: T_ID or a keyword. */
static int word_kind(const ParseState *st, const char *word) {
    const struct Keyword *keyword = find_keyword(word);

    if (!keyword || st->last == '.' || before_assignment(st))
        return T_ID;
    bool start = at_statement_start(st->last);
    switch (keyword->class) {
    case K_ALWAYS:
        return keyword->token;
    case K_WORD:
        return start && before_word(st) ? keyword->token : T_ID;
    case K_SECTION:
        return start && before_block(st) ? keyword->token : T_ID;
    case K_MIDDLE:
        return can_end_statement(st->last) ? keyword->token : T_ID;
    }
    return T_ID;
}

/* ---- brackets ---- */
static int opener_of(int closer) {
    return closer == ')' ? '(' : closer == ']' ? '[' : '{';
}

static void push_bracket(ParseState *st, int token, LocRange loc) {
    if (st->open_count == LIMIT_NESTING) {
        report_too_deep(st, loc);
        return;
    }
    st->open[st->open_count++] = (OpenBracket){token, loc.begin};
}

/* Braces never stand inside ( or [, so a brace proves those unclosed. */
void token_drop_parens(ParseState *st) {
    while (st->open_count > 0 && st->open[st->open_count - 1].token != '{')
        st->unclosed = st->open[--st->open_count];
}

static void track_bracket(ParseState *st, int token, LocRange loc) {
    if (token == '{' || token == '}')
        token_drop_parens(st);
    if (token == '(' || token == '[' || token == '{') {
        push_bracket(st, token, loc);
    } else if (token == '}') {
        if (st->open_count > 0)
            st->open_count--;
    } else if (st->open_count > 0 && st->open[st->open_count - 1].token != '{') {
        OpenBracket open = st->open[--st->open_count];
        if (open.token != opener_of(token))
            st->unclosed = open;
    }
}

static bool in_parens(const ParseState *st) {
    return st->open_count > 0 && st->open[st->open_count - 1].token != '{';
}

static bool is_header(int token) {
    return token == T_NET || token == T_BLOCK || token == T_VARIANTS || token == T_REPEAT ||
           token == T_IF;
}

/* Do the open ( and [ close before the text looks like a new statement ("word:" at the start of a
 * line, a keyword there, or a brace)? */
static bool parens_close_ahead(const ParseState *st) {
    const char *end = st->file->text + st->file->size;
    int depth = 0;

    for (int i = st->open_count - 1; i >= 0 && st->open[i].token != '{'; i--)
        depth++;
    for (const char *p = st->file->text + st->offset; p < end; p++) {
        if (*p == '(' || *p == '[') {
            depth++;
        } else if (*p == ')' || *p == ']') {
            if (--depth == 0)
                return true;
        } else if (*p == '{' || *p == '}') {
            return false;
        } else if (*p == '"') {
            while (p + 1 < end && p[1] != '"' && p[1] != '\n')
                p += p[1] == '\\' && p + 2 < end ? 2 : 1;
            p++;
        } else if (*p == '#' || *p == '\n') {
            const char *word = p = skip_space(p, end);
            char text[16] = {0};
            while (p < end && is_word_char(*p))
                p++;
            if ((size_t)(p - word) < sizeof text)
                memcpy(text, word, (size_t)(p - word));
            p = skip_blanks(p, end);
            if ((p > word && p < end && *p == ':') || token_is_keyword_text(text))
                return false;
            p--;
        }
    }
    return false;
}

/* After an error: one stray '(' must not swallow every later newline, and with them all later
 * errors; but a bracket that does close may still spread over lines. */
void token_error_seen(ParseState *st, int lookahead) {
    if (in_parens(st) && !parens_close_ahead(st))
        token_drop_parens(st);
    st->recovering = true;
    if (is_header(lookahead)) /* not the head it seems to be: it cannot stand here */
        st->header = false;
    if (lookahead == '{' && !st->header)
        net_scan_skip_block(st);
}

/* ---- the token stream ---- */
static RawToken scan(ParseState *st) {
    RawToken token = {0};
    NET_YSTYPE value = {0};

    if (st->stop) {
        Loc end = st->file->base + st->file->size;
        token.loc = (LocRange){end, end};
        return token;
    }
    token.kind = net_slex(&value, &token.loc, st->scanner);
    if (token.kind <= 0) {
        Loc end = st->file->base + st->file->size;
        token.kind = 0;
        token.loc = (LocRange){end, end};
    } else if (token.kind == T_NUM || token.kind == T_DIM || token.kind == T_STR) {
        token.ast = value.ast;
    } else if (token.kind == T_ID) {
        token.name = value.name;
    }
    return token;
}

/* Does the text at the current place continue the statement of the line before? */
static bool continues_statement(ParseState *st) {
    const char *end = st->file->text + st->file->size;

    if (st->offset < st->continues_at) /* known since an earlier newline: long comments stay cheap */
        return true;
    const char *p = skip_space(st->file->text + st->offset, end);
    bool goes_on = (end - p >= 2 && p[0] == '-' && p[1] == '>') ||
                   (end - p >= 4 && memcmp(p, "else", 4) == 0 &&
                    (end - p == 4 || !is_word_char(p[4])));
    if (goes_on)
        st->continues_at = (uint32_t)(p - st->file->text);
    return goes_on;
}

static RawToken next_raw(ParseState *st) {
    if (st->held.kind >= 0) {
        RawToken token = st->held;
        st->held.kind = -1;
        return token;
    }
    for (;;) {
        RawToken token = scan(st);
        if (token.kind != T_NEWLINE)
            return token;
        if (in_parens(st) || !can_end_statement(st->last) || continues_statement(st))
            continue;
        token.kind = T_SEP;
        return token;
    }
}

/* A broken line may end in a token that normally continues ("conv(6,"): while the parser looks for
 * the end of the statement any newline will do. */
static RawToken next_recovering(ParseState *st) {
    RawToken token;

    if (st->held.kind >= 0)
        return next_raw(st);
    do
        token = scan(st);
    while (token.kind == T_NEWLINE && in_parens(st));
    if (token.kind == T_NEWLINE)
        token.kind = T_SEP;
    return token;
}

static bool needs_sep_before(const ParseState *st, int token) {
    if (token == '}')
        return st->last != T_SEP && st->last != '{';
    return token == 0 && st->last != T_SEP && !in_parens(st) &&
           (can_end_statement(st->last) || st->recovering);
}

/* Is the word at loc indented no more than the line that holds `brace`? */
static bool indented_like(const ParseState *st, LocRange loc, Loc brace) {
    const char *text = st->file->text;
    const char *word = text + (loc.begin - st->file->base), *open = text + (brace - st->file->base);
    int word_column = 0, column = 0;

    for (; word > text && word[-1] != '\n'; word--)
        word_column++;
    while (open > text && open[-1] != '\n')
        open--;
    while (open[column] == ' ' || open[column] == '\t')
        column++;
    return word_column <= column;
}

/* Nets and blocks never stand inside braces, so their keyword where a net could begin (and the end of
 * the file) proves the open ones unclosed: say so once and close them, which spares all that follows.
 * An indented one was meant to stand inside; the parser tells that it cannot. */
static bool proves_unclosed(const ParseState *st, const RawToken *token) {
    if (st->open_count == 0 || st->stop)
        return false;
    if (token->kind == 0)
        return true;
    if (token->kind != T_ID || !token->name || !at_statement_start(st->last) ||
        before_assignment(st) || !before_word(st) ||
        !indented_like(st, token->loc, st->open[0].loc))
        return false;
    const struct Keyword *keyword = find_keyword(token->name);
    return keyword && (keyword->token == T_NET || keyword->token == T_BLOCK ||
                       keyword->token == T_VARIANTS);
}

static void track_header(ParseState *st, int token) {
    if (st->last == T_SEP || st->last == '{')
        st->header = false;
    if (is_header(token))
        st->header = true;
}

static RawToken inserted(int kind, LocRange before) {
    return (RawToken){.kind = kind, .loc = {before.begin, before.begin}};
}

/* The next token, with inserted ones in front where the rules above want them. */
static RawToken next_token(ParseState *st) {
    if (st->closing > 0) {
        if (st->last != T_SEP)
            return inserted(T_SEP, st->held.loc);
        st->closed = --st->closing == 0;
        return inserted('}', st->held.loc);
    }
    if (st->closed) {
        st->closed = false;
        return inserted(T_SEP, st->held.loc);
    }
    RawToken token = st->recovering ? next_recovering(st) : next_raw(st);
    st->sep_for_held = false;
    if (proves_unclosed(st, &token)) {
        bool in_call = in_parens(st);
        if (in_call && token.kind == 0)
            return token; /* the parser words this one: it knows what it was waiting for */
        token_drop_parens(st);
        report_unclosed_brace(st, st->open[st->open_count - 1].loc, &token);
        st->closing = st->open_count;
        st->held = token;
        return next_token(st); /* one step deep: closing is set */
    }
    if (needs_sep_before(st, token.kind)) {
        if (token.kind == '}')
            token_drop_parens(st);
        st->held = token;
        st->sep_for_held = true;
        return inserted(T_SEP, token.loc);
    }
    return token;
}

int net_ylex(NET_YSTYPE *value, LocRange *loc, ParseState *st) {
    if (st->first_token) {
        st->last = st->first_token;
        st->first_token = 0;
        *loc = (LocRange){st->file->base, st->file->base};
        return st->last;
    }
    st->unclosed = (OpenBracket){0};
    if (st->last == T_SEP)
        st->bad_text = false;
    RawToken token = next_token(st);
    if (token.kind == T_ID && token.name)
        token.kind = word_kind(st, token.name);
    else if (token.kind > 0 && token.kind < 128 && strchr("()[]{}", token.kind))
        track_bracket(st, token.kind, token.loc);
    track_header(st, token.kind);
    if (st->recovering && token.kind == '{' && !st->header)
        net_scan_skip_block(st);
    if (token.ast)
        value->ast = token.ast;
    else
        value->name = token.name;
    *loc = token.loc;
    st->previous_loc = st->last_loc;
    st->last = token.kind;
    st->last_loc = token.loc;
    return token.kind;
}
