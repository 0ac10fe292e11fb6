/* rt_apng.h: animated PNG from the frames' PNG files.
 *
 * Format: PNG, third edition (W3C 2025), sections 11.3.4 acTL, fcTL, fdAT: the first frame's data
 * stay IDAT, so that a program that knows no animation shows that frame.
 */
#ifndef RT_APNG_H
#define RT_APNG_H

#include <stddef.h>

#include "rt_error.h"

enum { RT_APNG_FRAMES = 100000 };

/* name(context, i, ..) gives the file of frame i; all of one size and kind of pixels.  Shown for
 * `ms` milliseconds each, again and again.  EDATA: a frame that is no PNG or differs; EIO. */
typedef void (*rt_apng_name)(void *context, int frame, char *path, size_t size);
int rt_apng_write(const char *path, rt_apng_name name, void *context, int frames, int ms,
                  rt_error *err);

#endif
