/* rt_nines.h: the nine strongest activations of every map, looked for by one thread while another
 * asks for them.
 */
#ifndef RT_NINES_H
#define RT_NINES_H

#include <pthread.h>

#include "rt_viz.h"

enum { RT_NINES_LAYERS = 64 }; /* the first of a network are looked at */
enum { RT_NINES_NONE, RT_NINES_WANTED, RT_NINES_RUN, RT_NINES_DONE, RT_NINES_FAILED };

typedef struct rt_nines {
    pthread_mutex_t lock; /* guards the rest */
    int state;
    int64_t done, total;  /* images */
    rt_peak *top[RT_NINES_LAYERS];
    char why[200];
} rt_nines;

void rt_nines_open(rt_nines *n);
void rt_nines_close(rt_nines *n);
/* The asking thread: a scan is wanted, if none is there or on its way. */
void rt_nines_want(rt_nines *n);
/* State, and how far the scan is; why: 200 bytes. */
int rt_nines_state(rt_nines *n, int64_t *done, int64_t *total, char *why);
/* Copies the nine of a map; how many there are, -1: no scan has looked at this layer. */
int rt_nines_of(rt_nines *n, int layer, int64_t map, rt_peak top[RT_TOP]);
/* The scanning thread: does what is wanted, with a network of its own, opened by the settings of v
 * (not opened itself) and the pictures in operands. */
void rt_nines_work(rt_nines *n, const rt_viz *v, const char **operands, int noperands);

#endif
