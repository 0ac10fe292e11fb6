/* rt_args.h: command lines.  One table of options per verb makes the parser and the help text, so
 * they cannot disagree.  Long options take --name=value or --name value, short ones -n value; "--"
 * ends options; an unknown option or verb gets a did-you-mean and exit code 2.
 */
#ifndef RT_ARGS_H
#define RT_ARGS_H

#include <stdint.h>
#include <stdio.h>

#include "rt_error.h"

typedef enum {
    RT_ARG_FLAG,   /* int *: set to 1 */
    RT_ARG_INT,    /* int64_t * */
    RT_ARG_REAL,   /* double * */
    RT_ARG_TEXT,   /* const char ** */
    RT_ARG_MAYBE,  /* const char **: --name alone stores "" */
    RT_ARG_CHOICE, /* int *: index into the words of `value`, "auto|plain|json" */
    RT_ARG_REST,   /* heading in the help text: `help` is the heading */
} rt_arg_kind;

typedef struct rt_arg {
    const char *name; /* long name */
    char letter;      /* 0: none */
    rt_arg_kind kind;
    const char *value; /* "N", "FILE", "auto|plain": what help shows; NULL for flags */
    void *dst;
    int64_t min, max; /* INT: accepted range when min < max; REAL: >= 0 demanded when max = 1 */
    const char *help;
} rt_arg;

typedef struct rt_verb {
    const char *name, *summary; /* one line each */
    const char *usage;          /* "[OPTIONS] FILE|DIR..." */
    const char *examples;       /* lines; each is printed behind the name of the program */
} rt_verb;

/* Parses argv[0..argc-1] (after the verb).  operands gets the rest, argc entries of room.
 * *help is set to 1 when -h or --help was there.  EUSAGE: text for the user. */
int rt_args_parse(const rt_arg *table, int n, int argc, char **argv, const char **operands,
                  int *noperands, int *help, rt_error *err);

/* At most 80 columns: examples first, then the options. */
void rt_args_help(FILE *out, const char *program, const rt_verb *verb, const rt_arg *table, int n);

/* The nearest of n words within edit distance (length + 2) / 3, or NULL; words of one or two
 * letters are never suggested. */
const char *rt_nearest(const char *word, const char *const *words, int n);

/* "3", "1e-3", "64k": whole text must be a number.  0 on failure. */
int rt_parse_int(const char *s, int64_t *out);
int rt_parse_real(const char *s, double *out);

#endif
