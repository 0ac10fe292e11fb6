/* rt_nines.c: a scan in the background (rt_nines.h). */
#include "rt_nines.h"

#include <string.h>

#include "rt_alloc.h"

void rt_nines_open(rt_nines *n) {
    *n = (rt_nines){.state = RT_NINES_NONE};
    pthread_mutex_init(&n->lock, NULL);
}

void rt_nines_close(rt_nines *n) {
    for (int i = 0; i < RT_NINES_LAYERS; i++)
        rt_free(n->top[i]);
    pthread_mutex_destroy(&n->lock);
}

void rt_nines_want(rt_nines *n) {
    pthread_mutex_lock(&n->lock);
    if (n->state == RT_NINES_NONE || n->state == RT_NINES_FAILED)
        n->state = RT_NINES_WANTED;
    pthread_mutex_unlock(&n->lock);
}

int rt_nines_state(rt_nines *n, int64_t *done, int64_t *total, char *why) {
    pthread_mutex_lock(&n->lock);
    int state = n->state;
    *done = n->done;
    *total = n->total;
    memcpy(why, n->why, sizeof n->why);
    pthread_mutex_unlock(&n->lock);
    return state;
}

int rt_nines_of(rt_nines *n, int layer, int64_t map, rt_peak top[RT_TOP]) {
    int found = -1;
    pthread_mutex_lock(&n->lock);
    if (n->state == RT_NINES_DONE && layer < RT_NINES_LAYERS && n->top[layer])
        for (found = 0; found < RT_TOP; found++) {
            top[found] = n->top[layer][map * RT_TOP + found];
            if (top[found].sample < 0)
                break;
        }
    pthread_mutex_unlock(&n->lock);
    return found;
}

static void set_state(rt_nines *n, int state, const rt_error *err) {
    pthread_mutex_lock(&n->lock);
    n->state = state;
    snprintf(n->why, sizeof n->why, "%.*s", (int)strcspn(err->text, "\n"), err->text);
    pthread_mutex_unlock(&n->lock);
}

static void watch(void *context, int64_t done, int64_t total) {
    rt_nines *n = context;
    pthread_mutex_lock(&n->lock);
    n->done = done;
    n->total = total;
    pthread_mutex_unlock(&n->lock);
}

/* Room that stays private until the scan has ended. */
static int scan(rt_nines *n, rt_viz *v, rt_feed *feed, rt_peak **top, rt_error *err) {
    const rt_program *p = &v->m->model->program[RT_LOOK];
    int seed[RT_NINES_LAYERS], layers = p->nseeds < RT_NINES_LAYERS ? p->nseeds : RT_NINES_LAYERS;
    for (int i = 0; i < layers && !err->code; i++) {
        int64_t chw[3];
        rt_seed_shape(v->m->model, i, chw);
        seed[i] = i;
        top[i] = rt_alloc((size_t)chw[0] * RT_TOP, sizeof **top, "strongest activations", err);
    }
    watch(n, 0, rt_data_count(feed->ds));
    v->cli.progress.watch = watch;
    v->cli.progress.watcher = n;
    return err->code ? err->code
                     : rt_look_scan(&v->cli, &v->look, feed, v->limit, seed, layers, top, err);
}

void rt_nines_work(rt_nines *n, const rt_viz *settings, const char **operands, int noperands) {
    rt_error err = {0};
    rt_peak *top[RT_NINES_LAYERS] = {0};
    rt_viz v = *settings;
    rt_feed feed = {0};
    pthread_mutex_lock(&n->lock);
    int wanted = n->state == RT_NINES_WANTED;
    n->state = wanted ? RT_NINES_RUN : n->state;
    pthread_mutex_unlock(&n->lock);
    if (!wanted)
        return;
    if (rt_viz_open(&v, 1, &err) == 0 && rt_viz_feed(&v, operands, noperands, &feed, &err) == 0 &&
        scan(n, &v, &feed, top, &err) == 0) {
        pthread_mutex_lock(&n->lock);
        memcpy(n->top, top, sizeof top);
        memset(top, 0, sizeof top);
        pthread_mutex_unlock(&n->lock);
    }
    set_state(n, err.code ? RT_NINES_FAILED : RT_NINES_DONE, &err);
    for (int i = 0; i < RT_NINES_LAYERS; i++)
        rt_free(top[i]);
    rt_viz_feed_close(&v, &feed);
    rt_viz_close(&v);
}
