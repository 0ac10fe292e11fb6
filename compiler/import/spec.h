/* spec.h: statements of an imported network, shared by printing (spec.c) and folding (fold.c). */
#ifndef IMPORT_SPEC_H
#define IMPORT_SPEC_H

#include "import/im.h"

/* One line: a head, and the unary layers chained behind it. */
typedef struct Statement {
    int head, tail;     /* layers; what lies between has no other reader */
    int count;          /* layers in it */
    const char *label;  /* full: the head's */
    const char *stages; /* "conv(20, 5x5) -> relu"; of joins without its sources: "add" */
} Statement;
typedef VEC(Statement) Statements;

/* Cuts the network into statements, in order; of[layer] is the statement that layer ends in, -1 the
 * input. */
void spec_statements(Im *im, ImNet *net, Statements *out, int *of);
/* "conv(20, 5x5, stride = 2)" */
const char *spec_stage(Im *im, const ImNet *net, const ImLayer *l);
void spec_number(StrBuf *out, double x);
/* The statements as text, each line indented by two blanks; folded where they repeat. */
void spec_body(Im *im, ImNet *net, const Statements *all, const int *of, StrBuf *blocks,
               StrBuf *out);

/* ---- what repeats (fold.c) ---- */
/* A run of statements with the same beginning of their labels: an instance of a block. */
typedef struct Instance {
    int first, count;  /* statements */
    const char *label; /* "fire2": what they have in common */
    int input;         /* statement that all of them read from outside, -1 the image */
    const char *shape; /* statements without their numbers: equal for instances of one block */
    VEC(const char *) number;
    const char *call; /* "fire(16, 64)", when it is one of a block */
} Instance;
typedef struct Folds {
    VEC(Instance) all;
    int *at; /* of a statement: index into `all`, or -1 */
} Folds;
void spec_fold(Im *im, const ImNet *net, const Statements *all, const int *of, Folds *out,
               StrBuf *blocks);
/* "add(a, b) -> relu", "a -> conv(..)" or, reading statement `before`, "conv(..)"; name(i) is how
 * statement i, or -1, is written. */
typedef const char *(*SpecName)(void *context, int statement);
const char *spec_chain(Im *im, const ImNet *net, const int *of, const Statement *s, int before,
                       SpecName name, void *context, const char *stages);
const char *im_label_text(Im *im, const char *label);

#endif
