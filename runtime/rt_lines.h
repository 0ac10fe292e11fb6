/* rt_lines.h: a text file cut into lines and fields, for tables and series; private to them. */
#ifndef RT_LINES_H
#define RT_LINES_H

#include <stdint.h>

#include "rt_error.h"

struct rt_lines {
    char *text;
    char **at;     /* lines that are not empty, ended by 0, without \r */
    int32_t *line; /* their numbers in the file, from 1 */
    int64_t n;
};

/* comment: lines that begin with it are left out; 0: none.  EDATA: holds a 0 byte (no text). */
int rt_lines_read(struct rt_lines *l, const char *path, char comment, rt_error *err);
void rt_lines_free(struct rt_lines *l);

/* Cuts s in place at the delimiter (quotes "a,b" are understood and removed, blanks around a field
 * too).  Puts at most cap fields into field, returns how many there are. */
int64_t rt_fields(char *s, char delimiter, char **field, int64_t cap);

/* Of , ; and tab the one that the line has most of outside quotes; 0: none of them. */
char rt_delimiter(const char *s);

#endif
