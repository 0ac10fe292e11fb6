/* text.h: what graph_print.c and graph_parse.c share: the spelling of attributes and of types.
 *
 * One attribute is `name=text`; text depends on AttrDesc.type: 5, yes, 0.01, 3x3 (height x width),
 * 0,0,1,1 (top, bottom, left, right), the choice's word, 16x6:0101... (connection table), "string".
 */
#ifndef IR_TEXT_H
#define IR_TEXT_H

#include <stdio.h>

#include "ir/op.h"

enum { ATTR_TEXT_MAX = 128 };

size_t attr_bytes(AttrType t);
/* Fills one attribute of the struct `attrs` from text; false when it cannot be read. */
bool attr_read(Arena *keep, const AttrDesc *d, const char *text, size_t length, void *attrs);
/* Gives attribute i its default; false when it has none that can be read. */
bool attr_default(Arena *keep, const OpDef *def, int i, void *attrs);

/* Attributes that differ from their defaults: " {name=text, ...}", or nothing. */
void attrs_print(FILE *out, const Graph *g, const Node *n);
void print_float(FILE *out, double x); /* shortest decimal that reads back the same */
void print_quoted(FILE *out, const char *text);

#endif
