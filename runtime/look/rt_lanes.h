/* rt_lanes.h: where the boxes of a network's drawing stand: a column for each step of the computation,
 * side by side what is computed side by side.
 *
 * theory: layers by the longest path as in Sugiyama, Tagawa, Toda 1981, section 3; heights not by
 * crossings but by nesting: the longest path is a straight trunk, every other path a lane packed
 * against the one that it joins, the shorter nearer.
 */
#ifndef RT_LANES_H
#define RT_LANES_H

#include "rt_error.h"

typedef struct rt_link {
    int from, to;   /* from < to: nodes come in the order of computation */
    int order;      /* which of the inputs of `to`: lanes join in this order from the top */
    double y;       /* out: the height at which it passes the columns between its ends */
} rt_link;

typedef struct rt_lanes {
    int n, ninputs; /* nodes, each `height` high; the first of them are inputs of the network */
    int nlinks;
    rt_link *link;  /* by `to` */
    double height, gap;
    int columns;    /* out, from here on; of the caller: n numbers each of column and y */
    int *column;
    double *y;      /* middle of a node; the trunk's is 0, below it is positive */
    double *up, *down; /* of each column: what is above and below 0; owned */
} rt_lanes;

/* ensures: nodes of a column do not overlap, a link crosses no node; the same for the same graph. */
int rt_lanes_place(rt_lanes *l, rt_error *err);
void rt_lanes_free(rt_lanes *l);

#endif
