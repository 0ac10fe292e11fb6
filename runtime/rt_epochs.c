/* rt_epochs.c: the kept weights of a run's folder, by their names (rt_epochs.h). */
#include "rt_epochs.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt_io.h"

void rt_epochs_path(const char *dir, int64_t epoch, char *path, size_t size) {
    snprintf(path, size, "%s/epoch-%lld.safetensors", dir, (long long)epoch);
}

/* The epoch of a file of that form, -1: another file. */
static int64_t epoch_of(const char *name) {
    char *end;
    if (strncmp(name, "epoch-", 6) != 0 || name[6] < '0' || name[6] > '9' || strlen(name) > 40)
        return -1;
    long long epoch = strtoll(name + 6, &end, 10);
    return strcmp(end, ".safetensors") == 0 ? (int64_t)epoch : -1;
}

static int by_epoch(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int rt_epochs_find(const char *dir, rt_epochs *e, rt_error *err) {
    e->n = 0;
    DIR *d = opendir(dir);
    if (!d)
        return NETRT_OK;
    struct dirent *entry;
    while (!err->code && (entry = readdir(d)) != NULL) {
        int64_t epoch = epoch_of(entry->d_name);
        if (epoch < 0)
            continue;
        if (e->n == RT_EPOCHS_MAX)
            rt_fail(err, NETRT_ELIMIT, "%s holds the weights of more than %d epochs\n"
                    "help: move some of its epoch-*.safetensors away", dir, RT_EPOCHS_MAX);
        else
            e->epoch[e->n++] = epoch;
    }
    closedir(d);
    qsort(e->epoch, (size_t)e->n, sizeof *e->epoch, by_epoch);
    return err->code;
}

void rt_epochs_remove(const char *dir) {
    rt_epochs e;
    rt_error ignored = {0};
    char path[4300];
    rt_epochs_find(dir, &e, &ignored);
    for (int i = 0; i < e.n; i++) {
        rt_epochs_path(dir, e.epoch[i], path, sizeof path);
        rt_io.unlink(path);
    }
}
