/* rt_cards.h: what a network's drawing has boxes for: inputs, layers with what follows each of them
 * alone (bn, relu), and of equal blocks in a row the first.
 */
#ifndef RT_CARDS_H
#define RT_CARDS_H

#include "rt_abi.h"
#include "rt_lanes.h"

typedef struct rt_card {
    int input;       /* number of the network's input, -1: a layer */
    int first, last; /* layers of the model; rt_cards.next leads from one to the other */
} rt_card;

typedef struct rt_card_group { /* cards of a block that comes several times, the first time */
    int first, last;
    int times;
    int until;       /* last layer of the last block */
} rt_card_group;

typedef struct rt_cards {
    const rt_model *model;
    int n;
    rt_card *card;   /* inputs first, then in the order of computation */
    int *next;       /* per layer: the next of the same card, -1 */
    int nlinks;
    rt_link *link;   /* by `to`; order: that of the inputs where it matters, else 0 */
    int ngroups;
    rt_card_group *group; /* in order */
} rt_cards;

/* long_one: more cards than this are folded.  Closing is allowed whatever opening said. */
int rt_cards_open(rt_cards *c, const rt_model *m, int long_one, rt_error *err);
void rt_cards_close(rt_cards *c);

#endif
