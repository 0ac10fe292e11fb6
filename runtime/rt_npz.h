/* rt_npz.h: arrays of NumPy, written: .npy files and .npz archives of floats.
 *
 * Format: NumPy enhancement proposal 1 (version 1.0); PKWARE APPNOTE 6.3, sections 4.3 and 4.4:
 * members are stored, not compressed, sizes above 4 GiB by zip64.  The same numbers give the same
 * bytes: no times of writing.
 */
#ifndef RT_NPZ_H
#define RT_NPZ_H

#include <stddef.h>
#include <stdint.h>

#include "rt_error.h"

enum { RT_NPY_HEAD = 128 }; /* bytes of a header here */
/* The bytes in front of the numbers of a C-ordered '<f4' array; rank at most 5. */
void rt_npy_head(unsigned char head[RT_NPY_HEAD], int rank, const int64_t *dim);

/* One array as a file, atomically. */
int rt_npy_write(const char *path, int rank, const int64_t *dim, const float *data, rt_error *err);

/* An archive: begin, add for every array, finish (publishes, releases all) or abort.  `parts` gives
 * elements `first` and following, at least one, valid until the next call; every array is asked for
 * twice, for its checksum and for the file. */
typedef struct rt_npz rt_npz;
typedef int64_t (*rt_npz_parts)(void *context, int64_t first, const float **data);
int rt_npz_begin(rt_npz **z, const char *path, rt_error *err);
int rt_npz_add(rt_npz *z, const char *name, int rank, const int64_t *dim, rt_npz_parts parts,
               void *context, rt_error *err);
int rt_npz_finish(rt_npz *z, rt_error *err);
void rt_npz_abort(rt_npz *z); /* NULL is allowed */

#endif
