/* rt_save.h: what a network computed, as files: numbers (.npy) and pictures (.png). */
#ifndef RT_SAVE_H
#define RT_SAVE_H

#include "rt_model.h"

/* Is the declared output a picture: maps of more than one cell that nothing compares with classes? */
int rt_output_is_picture(const rt_model *model);
/* Its extents, of a clip [channels][frames][height][width]; the rank. */
int rt_output_shape(const rt_model *model, int64_t dim[4]);

/* The declared output of image `image` of the last run of "forward".  `to` ends in .npy or .png:
 * that file; else a folder, which gets NAME.npy and, of 1 or 3 maps, NAME.png.  Pictures: the
 * spec's pixel range is black to white; what lies beyond is cut, channels stand as the input's do.
 * `path` (of `cap` bytes) receives the name, of two the picture's.  EUSAGE: .png of something
 * else. */
int rt_save_output(const netrt *m, int64_t image, const char *to, const char *name, char *path,
                   size_t cap, rt_error *err);

#endif
