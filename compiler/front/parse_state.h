/* parse_state.h: what scanner, token filter, grammar and parse.c share (private to the parser).
 *
 * Data flow: net.l cuts the text into raw tokens, tokens.c turns newlines into statement ends and
 * decides which words are keywords where they stand, net.y builds the tree with the node_* helpers of
 * parse_build.c, parse_error.c words the syntax errors, parse.c opens files and follows includes.
 */
#ifndef FRONT_PARSE_STATE_H
#define FRONT_PARSE_STATE_H

#include "base/diag.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/vec.h"
#include "front/ast.h"
#include "front/parse.h"

typedef VEC(Ast *) AstVec;

/* One compilation: a main file and all it includes. */
typedef struct ParseRun {
    Arena *arena;
    Sources *sources;
    DiagCtx *diag;
    const ParseOptions *options;
    Map seen; /* canonical path -> SourceFile; an include of it again adds nothing */
} ParseRun;

typedef struct OpenBracket {
    int token; /* '(' '[' '{' */
    Loc loc;
} OpenBracket;

typedef struct RawToken {
    int kind;
    LocRange loc;
    Ast *ast;         /* numbers, extents, strings */
    const char *name; /* words */
} RawToken;

typedef struct ParseState {
    ParseRun *run;
    SourceFile *file;
    struct ParseState *includer; /* NULL for the main file */
    const char *canonical;       /* real path, for cycles */
    int include_depth;
    void *scanner;

    uint32_t offset;  /* scanner: bytes consumed */
    uint32_t start;   /* scanner: first byte of the current token */
    uint32_t continues_at; /* nothing but blanks and comments in front of this '->' or 'else' */
    int skip_depth;   /* scanner: braces to close before tokens are made again */

    int first_token;  /* START_FILE or START_EXPR, given out once */
    int last;         /* kind of the last token given to the parser; 0 at the start */
    LocRange last_loc, previous_loc; /* of the last token, and of the one before it */
    RawToken held;    /* token behind inserted ones; kind -1 = none */
    int closing;      /* '}' still to be inserted for braces that were never closed */
    bool closed;      /* the last of them was inserted, its SEP not yet */
    bool bad_text;    /* the scanner complained about this statement: syntax errors are its echo */
    bool sep_for_held; /* the last SEP was inserted for the held token */
    bool header;      /* inside the head of a net, block, section, if or repeat */
    bool recovering;  /* a syntax error was reported, the parser is looking for a SEP */
    bool stop;        /* limit met: the scanner says end of file from now on */
    OpenBracket open[LIMIT_NESTING];
    int open_count;
    OpenBracket unclosed; /* bracket that the current token proves unclosed; token 0 = none */

    Ast *result;      /* FILE or expression */
} ParseState;

/* tokens.c */
void token_error_seen(ParseState *st, int lookahead); /* on every syntax error */
void token_drop_parens(ParseState *st); /* newlines end statements again */
const char *token_text(const ParseState *st, LocRange loc, int *length);
bool token_is_keyword_text(const char *word);

/* parse_build.c: scanner side */
Ast *scan_number(ParseState *st, LocRange loc);
Ast *scan_extent(ParseState *st, LocRange loc);
Ast *scan_string(ParseState *st, LocRange loc, bool closed);
const char *scan_word(ParseState *st, LocRange loc);
void scan_bad_characters(ParseState *st, LocRange loc);
void scan_bad_number(ParseState *st, LocRange loc);

/* parse_build.c: grammar side.  Each node_* returns a finished node (height checked). */
AstVec vec_none(void);
AstVec vec_with(ParseState *st, AstVec list, Ast *item); /* NULL items are dropped */
AstList list_of(ParseState *st, AstVec list);
Ast *node(ParseState *st, AstKind kind, LocRange loc);
Ast *named(ParseState *st, AstKind kind, LocRange loc, const char *name, LocRange name_loc);
Ast *done(ParseState *st, Ast *ast);
Ast *node_path(ParseState *st, LocRange loc, AstVec parts);
Ast *node_call(ParseState *st, LocRange loc, Ast *callee, AstVec args);
Ast *node_expr(ParseState *st, AstKind kind, LocRange loc, AstOp op, Ast *left, Ast *right);
Ast *node_stmt(ParseState *st, LocRange loc, Ast *label, Ast *chain, bool is_out);
void bad_section(ParseState *st, LocRange loc, const char *name);

/* parse.c */
void parse_include(ParseState *st, Ast *include, LocRange name_loc);

/* parse_error.c: unexpected is the grammar's name of the token ("name", "'->'"), token its kind. */
void report_syntax(ParseState *st, int token, const char *unexpected, LocRange loc,
                   const char *const *expected, int count);
/* parse_hints.c: what to do about it */
void syntax_hints(ParseState *st, Diag *diag, int token, LocRange loc, const char *const *expected,
                  int count);
void report_too_deep(ParseState *st, LocRange loc);
void report_unclosed_brace(ParseState *st, Loc brace, const RawToken *before);

/* net.y, net.l */
int net_yparse(ParseState *st);
bool net_scan_begin(ParseState *st, const char *text, uint32_t size);
void net_scan_end(ParseState *st);

#endif
