/* rt_st.h: what the reader and the writer of safetensors share; private to those two
 * files but for rt_file_digest. */
#ifndef RT_ST_H
#define RT_ST_H

#include <stddef.h>

#include "rt_error.h"

#define ST_HASH_KEY "netc.xxh3_128"
#define ST_FORMAT_KEY "netc.format" /* always written: its presence says that a checksum must be   \
                                     */
enum { ST_HASH_DIGITS = 32, ST_CHUNK = 1 << 20 };

/* XXH3-128 over length, header (digits blanked) and data. */
struct st_hash;
struct st_hash *st_hash_begin(rt_error *err); /* NULL: no memory */
void st_hash_add(struct st_hash *hash, const void *data, size_t n);
/* Writes 32 lower-case digits and a 0; releases hash (NULL is allowed: digits of nothing). */
void st_hash_end(struct st_hash *hash, char digits[ST_HASH_DIGITS + 1]);
/* XXH3-128 of a whole file, as `xxh128sum` prints it. */
int rt_file_digest(const char *path, char digits[ST_HASH_DIGITS + 1], rt_error *err);

#endif
