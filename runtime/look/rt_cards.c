/* rt_cards.c: from a model's table of layers to boxes and links (rt_cards.h).
 *
 * Repetitions: the order of computation falls apart where only one box is read later; a block between
 * two such places equals another when operations, shapes, weights and links do.
 */
#include "rt_cards.h"

#include <string.h>

#include "rt_alloc.h"

enum { PERIOD_MAX = 8 };

/* ---- cards ---- */

/* Does layer i only change the numbers of the one before, which nobody else reads? */
static int joins(const rt_model *m, const int *readers, int i) {
    const rt_layer *l = &m->layer[i];
    if (l->nin != 1 || l->in[0] < 0 || readers[l->in[0]] != 1 || l->macs > 0 ||
        strstr(l->op, "pool") || strstr(l->op, "pad"))
        return 0;
    const rt_layer *before = &m->layer[l->in[0]];
    return l->out_rank == before->out_rank && memcmp(l->out, before->out, sizeof l->out) == 0;
}

static void link_cards(rt_cards *c, int from, int to, int order) {
    for (int i = c->nlinks; i-- > 0 && c->link[i].to == to;)
        if (c->link[i].from == from)
            return;
    c->link[c->nlinks++] = (rt_link){.from = from, .to = to, .order = order};
}

static void make_cards(rt_cards *c, int *readers, int *home) {
    const rt_model *m = c->model;
    for (int i = 0; i < m->nlayers; i++)
        for (int k = 0; k < m->layer[i].nin; k++)
            if (m->layer[i].in[k] >= 0)
                readers[m->layer[i].in[k]]++;
    for (int k = 0; k < m->ninputs; k++)
        c->card[c->n++] = (rt_card){.input = k, .first = -1, .last = -1};
    for (int i = 0; i < m->nlayers; i++) {
        const rt_layer *l = &m->layer[i];
        c->next[i] = -1;
        if (joins(m, readers, i)) {
            home[i] = home[l->in[0]];
            c->next[l->in[0]] = i;
            c->card[home[i]].last = i;
            continue;
        }
        home[i] = c->n++;
        c->card[home[i]] = (rt_card){.input = -1, .first = i, .last = i};
        int ordered = strcmp(l->op, "concat") == 0;
        for (int k = 0; k < l->nin; k++)
            link_cards(c, l->in[k] < 0 ? -1 - l->in[k] : home[l->in[k]], home[i],
                       ordered ? k : 0);
    }
}

/* ---- repetitions ---- */

/* cut[k]: the last card of block k, whose result alone is read behind it; returns how many. */
static int find_cuts(const rt_cards *c, int *reach, int *cut) {
    int blocks = 0, far = 0;
    for (int i = 0; i < c->n; i++)
        reach[i] = i;
    for (int i = 0; i < c->nlinks; i++)
        reach[c->link[i].from] = c->link[i].to; /* by `to`: the last wins */
    for (int i = 0; i < c->n; i++) { /* far: the last reader of cards before this one */
        if (far <= i)
            cut[blocks++] = i;
        far = reach[i] > far ? reach[i] : far;
    }
    return blocks;
}

static int same_card(const rt_cards *c, int a, int b) {
    const rt_model *m = c->model;
    int i = c->card[a].first, k = c->card[b].first;
    for (; i >= 0 && k >= 0; i = c->next[i], k = c->next[k]) {
        const rt_layer *x = &m->layer[i], *y = &m->layer[k];
        if (strcmp(x->op, y->op) != 0 || strcmp(x->detail, y->detail) != 0 ||
            x->params != y->params || x->out_rank != y->out_rank ||
            memcmp(x->out, y->out, sizeof x->out) != 0)
            return 0;
    }
    return i < 0 && k < 0 && c->card[a].input < 0 && c->card[b].input < 0;
}

/* Are `cards` cards from a on the same as those from b on, links included? */
static int same_cards(const rt_cards *c, const int *first_link, int a, int b, int cards) {
    for (int i = 0; i < cards; i++) {
        int x = first_link[a + i], y = first_link[b + i];
        int links = first_link[a + i + 1] - x;
        if (links != first_link[b + i + 1] - y || !same_card(c, a + i, b + i))
            return 0;
        for (int k = 0; k < links; k++)
            if (c->link[x + k].from - a != c->link[y + k].from - b)
                return 0;
    }
    return 1;
}

/* How often blocks at .. at + period - 1 come, the first time included. */
static int times_of(const rt_cards *c, const int *first_link, const int *cut, int blocks, int at,
                    int period) {
    int start = at ? cut[at - 1] + 1 : 0, cards = cut[at + period - 1] + 1 - start, times = 1;
    for (int b = at + period; b + period <= blocks; b += period, times++)
        if (cut[b + period - 1] - cut[b - 1] != cards ||
            !same_cards(c, first_link, start, cut[b - 1] + 1, cards))
            break;
    return times;
}

/* Finds the groups.  to[i]: the card that gives what card i gave, -1: nobody asks; card i stays
 * itself if stays[i]. */
static int find_groups(rt_cards *c, const int *first_link, const int *cut, int blocks, int *to,
                       int *stays) {
    int kept = 0;
    for (int at = 0; at < blocks;) {
        int period = 1, times = 1;
        for (int some = 1; some <= PERIOD_MAX && at + some <= blocks; some++) {
            int n = times_of(c, first_link, cut, blocks, at, some);
            if (n > 1 && n * some > times * period) {
                period = some;
                times = n;
            }
        }
        int start = at ? cut[at - 1] + 1 : 0, end = cut[at + period - 1];
        at += times * period;
        if (times > 1)
            c->group[c->ngroups++] = (rt_card_group){kept, kept + end - start, times,
                                                     c->card[cut[at - 1]].last};
        for (int i = start; i <= cut[at - 1]; i++) {
            stays[i] = i <= end;
            to[i] = stays[i] ? kept++ : -1;
        }
        to[cut[at - 1]] = kept - 1;
    }
    return kept;
}

static int fold(rt_cards *c, rt_error *err) {
    size_t n = (size_t)c->n + 1;
    int *room = rt_alloc_zero(5 * n, sizeof *room, "drawing", err);
    int *first_link = room, *reach = room + n, *cut = room + 2 * n, *to = room + 3 * n;
    int *stays = room + 4 * n, links = 0;
    c->group = rt_alloc(n, sizeof *c->group, "drawing", err);
    if (room && c->group) {
        for (int i = 0; i < c->nlinks; i++)
            first_link[c->link[i].to + 1]++;
        for (int i = 0; i < c->n; i++)
            first_link[i + 1] += first_link[i];
        int blocks = find_cuts(c, reach, cut);
        int kept = find_groups(c, first_link, cut, blocks, to, stays);
        for (int i = 0; i < c->nlinks; i++)
            if (stays[c->link[i].to])
                c->link[links++] = (rt_link){.from = to[c->link[i].from],
                                             .to = to[c->link[i].to],
                                             .order = c->link[i].order};
        for (int i = 0; i < c->n; i++)
            if (stays[i])
                c->card[to[i]] = c->card[i];
        c->nlinks = links;
        c->n = kept;
    }
    rt_free(room);
    return err->code;
}

int rt_cards_open(rt_cards *c, const rt_model *m, int long_one, rt_error *err) {
    size_t links = 1;
    *c = (rt_cards){.model = m};
    for (int i = 0; i < m->nlayers; i++)
        links += (size_t)m->layer[i].nin;
    int *room = rt_alloc_zero((size_t)m->nlayers + 1, 2 * sizeof *room, "drawing", err);
    c->card = rt_alloc((size_t)(m->nlayers + m->ninputs) + 1, sizeof *c->card, "drawing", err);
    c->next = rt_alloc((size_t)m->nlayers + 1, sizeof *c->next, "drawing", err);
    c->link = rt_alloc(links, sizeof *c->link, "drawing", err);
    if (!err->code) {
        make_cards(c, room, room + m->nlayers + 1);
        if (c->n > long_one)
            fold(c, err);
    }
    rt_free(room);
    return err->code;
}

void rt_cards_close(rt_cards *c) {
    rt_free(c->card);
    rt_free(c->next);
    rt_free(c->link);
    rt_free(c->group);
    *c = (rt_cards){0};
}
