/* rt_resume.c: states of optimisations in files (rt_resume.h). */
#include "rt_resume.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char kind[] = "netc.state", print_key[] = "netc.fingerprint";

uint64_t rt_resume_mix(uint64_t print, const void *data, size_t n) {
    const unsigned char *at = data;
    for (size_t i = 0; i < n; i++)
        print = (print ^ at[i]) * 1099511628211u;
    return print;
}

static void digits_of(uint64_t print, char digits[20]) {
    snprintf(digits, 20, "%016llx", (unsigned long long)print);
}

int rt_resume_write(const char *path, uint64_t print, const rt_kept *part, int n, rt_error *err) {
    st_writer *w;
    char digits[20];
    digits_of(print, digits);
    if (st_writer_begin(&w, err))
        return err->code;
    st_writer_meta(w, kind, "1", err);
    st_writer_meta(w, print_key, digits, err);
    for (int i = 0; i < n; i++)
        st_writer_add(w, part[i].name, part[i].type, 1, &part[i].n, part[i].data, err);
    return st_writer_finish(w, path, err);
}

static int read_part(const st_file *file, const rt_kept *part, rt_error *err) {
    const st_tensor *t = st_find(file, part->name);
    if (!t || t->dtype != part->type || t->count != part->n)
        return rt_fail(err, NETRT_EDATA, "%s lacks '%s' in the size of this run\n"
                       "help: begin anew, without --resume", file->path, part->name);
    return st_read_raw(file, t, part->data, 0, part->n, err);
}

int rt_resume_read(const char *path, uint64_t print, const rt_kept *part, int n, rt_error *err) {
    st_file file = {0};
    char digits[20];
    digits_of(print, digits);
    if (access(path, F_OK) != 0)
        return rt_fail(err, NETRT_EUSAGE, "there is nothing to resume: no file %s\n"
                       "help: begin anew, without --resume", path);
    if (st_open(&file, path, 0, err))
        return err->code;
    const char *of = st_meta(&file, print_key);
    if (!st_meta(&file, kind) || !of)
        rt_fail(err, NETRT_EDATA, "%s is not the state of a run\nhelp: begin anew, without --resume",
                path);
    else if (strcmp(of, digits) != 0)
        rt_fail(err, NETRT_EUSAGE, "%s is the state of another run: network, weights, pictures or "
                "settings differ\nhelp: give the same ones, or begin anew, without --resume", path);
    for (int i = 0; i < n && !err->code; i++)
        read_part(&file, &part[i], err);
    st_close(&file);
    return err->code;
}

/* ---- optimisers ---- */

int rt_lbfgs_parts(rt_lbfgs *l, rt_kept part[RT_RESUME_PARTS], double room[RT_RESUME_ROOM]) {
    room[0] = l->have;
    room[1] = l->newest;
    room[2] = l->evaluations;
    room[3] = l->value;
    const rt_kept all[] = {{"lbfgs.numbers", ST_F64, room, RT_RESUME_ROOM},
                           {"x", ST_F32, l->x, l->n},
                           {"lbfgs.g", ST_F32, l->g, l->n},
                           {"lbfgs.s", ST_F32, l->s, l->n * l->keep},
                           {"lbfgs.y", ST_F32, l->y, l->n * l->keep},
                           {"lbfgs.rho", ST_F64, l->rho, l->keep}};
    memcpy(part, all, sizeof all);
    return (int)(sizeof all / sizeof *all);
}

int rt_lbfgs_take(rt_lbfgs *l, const double room[RT_RESUME_ROOM], rt_error *err) {
    if (!(room[0] >= 0 && room[0] <= l->keep && room[1] >= 0 && room[1] < l->keep &&
          room[2] >= 0 && room[2] < 2e9))
        return rt_fail(err, NETRT_EDATA, "the state's numbers cannot be\n"
                                         "help: begin anew, without --resume");
    l->have = (int)room[0];
    l->newest = (int)room[1];
    l->evaluations = (int)room[2];
    l->value = room[3];
    return NETRT_OK;
}

int rt_climb_parts(rt_climb *c, rt_kept part[RT_RESUME_PARTS], double room[RT_RESUME_ROOM]) {
    int n = 0;
    memset(room, 0, RT_RESUME_ROOM * sizeof *room);
    room[0] = (double)c->step;
    part[n++] = (rt_kept){"climb.numbers", ST_F64, room, RT_RESUME_ROOM};
    if (c->v)
        part[n++] = (rt_kept){"climb.v", ST_F32, c->v, c->n};
    if (c->g2)
        part[n++] = (rt_kept){"climb.g2", ST_F32, c->g2, c->n};
    return n;
}

void rt_climb_take(rt_climb *c, const double room[RT_RESUME_ROOM]) {
    c->step = room[0] > 0 && room[0] < 9e15 ? (int64_t)room[0] : 0;
}
