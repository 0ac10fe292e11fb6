/* rt_resume.h: the state of an optimisation of a picture as a file, so that a run that was stopped
 * goes on where it was, to the bit.
 *
 * A state is a list of named arrays and a fingerprint of all that the run depends on (network,
 * pictures, settings); a state with another fingerprint is refused.  The file is a safetensors file
 * with a checksum (rt_safetensors.h), written atomically.
 */
#ifndef RT_RESUME_H
#define RT_RESUME_H

#include "rt_climb.h"
#include "rt_safetensors.h"

typedef struct rt_kept {
    const char *name;
    st_dtype type;
    void *data;
    int64_t n;
} rt_kept;

/* The fingerprint grows by n bytes (FNV-1a, 64 bits); start from RT_RESUME_START. */
#define RT_RESUME_START 14695981039346656037u
uint64_t rt_resume_mix(uint64_t print, const void *data, size_t n);

int rt_resume_write(const char *path, uint64_t print, const rt_kept *part, int n, rt_error *err);
/* Fills the arrays; all must be there in these sizes.  EUSAGE: no such file, or of another run. */
int rt_resume_read(const char *path, uint64_t print, const rt_kept *part, int n, rt_error *err);

/* The arrays of the optimisers, at most RT_RESUME_PARTS; returns how many.  room: what holds their
 * few numbers; after reading, hand it to the _take function. */
enum { RT_RESUME_PARTS = 6, RT_RESUME_ROOM = 4 };
int rt_lbfgs_parts(rt_lbfgs *l, rt_kept part[RT_RESUME_PARTS], double room[RT_RESUME_ROOM]);
int rt_lbfgs_take(rt_lbfgs *l, const double room[RT_RESUME_ROOM], rt_error *err);
int rt_climb_parts(rt_climb *c, rt_kept part[RT_RESUME_PARTS], double room[RT_RESUME_ROOM]);
void rt_climb_take(rt_climb *c, const double room[RT_RESUME_ROOM]);

#endif
