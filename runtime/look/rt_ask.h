/* rt_ask.h: what the techniques that explain one unit of one picture share (rt_attribute.c,
 * rt_relevance.c): the picture, the unit that --class, --layer and --maps name, and the sheet.
 */
#ifndef RT_ASK_H
#define RT_ASK_H

#include "rt_pixels.h"
#include "rt_viz.h"

typedef struct rt_ask {
    rt_viz *v;
    rt_feed *feed;
    int64_t at;
    int seed;
    rt_unit unit;
    float value;        /* of the unit at the picture */
    rt_planes size;
    int64_t pixels;     /* c * h * w */
    float *picture;     /* as the network reads it */
    float range;        /* of its numbers */
    float *map;         /* pixels numbers: the result */
    float *batch, *diff; /* look.cap pictures and gradients */
    float *many;        /* look.cap times 1 */
    rt_unit *units;     /* look.cap times unit */
    char what[256];
} rt_ask;

/* Opens all of it and records the picture; many: with room for a batch of pictures, else one.
 * EUSAGE for networks of several inputs.  Closing is allowed
 * whatever opening said. */
int rt_ask_open(rt_ask *a, rt_viz *v, rt_feed *feed, int many, const char **operands, int n,
                rt_error *err);
void rt_ask_close(rt_ask *a);
/* x (the network's planes) as a tile: 0 mid-grey, the largest absolute value white or black. */
int rt_ask_signed(const rt_ask *a, const float *x, rt_image *tile, rt_error *err);
/* One picture made from numbers: what it is called, and what its ends of brightness mean. */
typedef struct rt_shown {
    const char *caption;
    int bar;
    float lo, hi;
} rt_shown;
/* Writes the picture and the tiles beside it as VERB-IMAGE.png; raw: the numbers of the first tile,
 * planes of the picture's size, go into VERB-IMAGE.npy. */
int rt_ask_show(rt_ask *a, const char *verb, const char *title, const char *note, rt_image *tile,
                const rt_shown *shown, int tiles, const float *raw, int64_t planes, rt_error *err);

#endif
