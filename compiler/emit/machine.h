/* machine.h: how fast is the machine that netc runs on: measured once, then remembered.
 *
 * The file is $XDG_CACHE_HOME/netc/machine, or what NETC_MACHINE names: one line per machine, its
 * name, a tab, and the numbers of struct Speed as name=value.  The name "*" fits every machine.
 */
#ifndef EMIT_MACHINE_H
#define EMIT_MACHINE_H

#include "base/arena.h"
#include "ir/plan.h"

/* Processor, model numbers, microcode, processors in use, netc's version: what the speeds depend
 * on. */
const char *machine_name(Arena *a, const Target *t);
/* Processors that this process may use: affinity and the container's share of time. */
int machine_threads(void);
/* The line of this machine in the file's text, or false. */
bool machine_parse(const char *text, const char *name, struct Speed *out);

/* Measures t's speeds with kernels of t's vector width; at most about 0.3 s.  False (and *out as it
 * was) when code cannot be run. */
bool machine_measure(Arena *a, const Target *t, struct Speed *out);

typedef enum { MACHINE_REMEMBERED, MACHINE_MEASURED, MACHINE_UNSAVED, MACHINE_UNKNOWN } MachineNews;
/* Fills t->speed from the file, or measures and writes it there.  UNSAVED: measured, but the file
 * could not be written; UNKNOWN: neither, t->speed is as it was.  t is target native. */
MachineNews machine_speed(Arena *a, Target *t);

#endif
