/* rt_save.h: the outputs of a network (rt_output of rt_abi.h), read after a run of "forward", and
 * as files: numbers (.npy) and pictures (.png).
 */
#ifndef RT_SAVE_H
#define RT_SAVE_H

#include "rt_model.h"

/* Is the first output a picture: maps of more than one cell that nothing compares with classes, or
 * anything else that is no row of scores? */
int rt_output_is_picture(const rt_model *model);
int64_t rt_output_count(const rt_output *o); /* numbers per image */
int rt_output_find(const rt_model *model, const char *name); /* -1: no such */
/* "prob, features, maps" */
const char *rt_output_list(const rt_model *model, char *text, size_t size);

/* Output `which` of image `image` of the last run of "forward": rt_output_count() numbers. */
void rt_output_read(const netrt *m, int which, int64_t image, float *out);

/* The same as files.  `to` ends in .npy or .png: that file, of several outputs (`many`)
 * PATH.OUTPUT.npy; else a folder, which gets NAME.npy (many: NAME.OUTPUT.npy) and, of 1 or 3 maps,
 * the same as .png.  Pictures: the spec's pixel range is black to white; what lies beyond is cut,
 * channels stand as the input's do.  `path` (of `cap` bytes) receives the name, of two the
 * picture's.  EUSAGE: .png of something else. */
int rt_save_output(const netrt *m, int which, int many, int64_t image, const char *to,
                   const char *name, char *path, size_t cap, rt_error *err);

#endif
