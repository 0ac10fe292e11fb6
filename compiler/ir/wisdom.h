/* wisdom.h: which candidate of a kernel was measured to be the fastest on this machine.
 *
 * Text: a first line "netc-wisdom 1 MACHINE", then one line per problem:
 *     plan_key TAB winner TAB "name ms, name ms, ..." (all that were measured, the winner first)
 * requires: keys and names without tabs and line ends.
 */
#ifndef IR_WISDOM_H
#define IR_WISDOM_H

#include <stdbool.h>
#include <stdio.h>

#include "base/arena.h"

typedef struct Wisdom Wisdom;

/* machine: what the measurements are worth on; another machine's file is another's. */
Wisdom *wisdom_new(Arena *keep, const char *machine);
/* The measured winner's name (plan_candidate_name), or NULL. */
const char *wisdom_find(const Wisdom *w, const char *key);
/* Adds or replaces. */
void wisdom_put(Wisdom *w, const char *key, const char *winner, const char *times);
int wisdom_count(const Wisdom *w);

/* FOREIGN: well-formed, but of another machine or netc ("*" is any machine).  CORRUPT: line *line
 * is not wisdom.  In both cases w is left empty. */
typedef enum { WISDOM_READ, WISDOM_FOREIGN, WISDOM_CORRUPT } WisdomNews;
WisdomNews wisdom_parse(Wisdom *w, const char *text, int *line);
void wisdom_print(const Wisdom *w, FILE *out);

#endif
