/* explain.h: the long texts behind diagnostic codes (`netc explain E0104`).
 *
 * requires: nothing.  ensures: codes are unique and sorted; rows live in diag_codes.def.
 */
#ifndef FRONT_EXPLAIN_H
#define FRONT_EXPLAIN_H

#include <stdbool.h>
#include <stdio.h>

typedef struct DiagCode {
    const char *code, *title, *text;
    const char *wrong, *right; /* examples, both NULL or both given */
} DiagCode;

const DiagCode *explain_codes(int *count); /* all rows in order */
const DiagCode *explain_find(const char *code); /* "E0104" or "e104"; NULL when there is none */
bool explain_print(const char *code, FILE *out); /* false, and nothing printed, when unknown */
void explain_list(FILE *out);                    /* one line per code */
void explain_wrap(const char *text, FILE *out);  /* text broken at blanks, at most 78 columns */

#endif
