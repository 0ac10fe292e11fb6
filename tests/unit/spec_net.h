/* spec_net.h: whole nets of specs/, shrunk by the rule of shrink.h, as mathematics.
 *
 * For each net: the gradient that the planned training program computes, interpreted in double,
 * against central differences of the loss of the program as it was built, in up to 64 random
 * directions, every other one along a single parameter; a step on 2 images leaves finite numbers,
 * and a small one against the gradient lowers the loss; the compiled kernels of inference and
 * training against the reference loops, one by one and as a whole (compiled.h).
 * NETC_TEST_TRACE=1 prints how each net was shrunk and what was done.
 */
#ifndef SPEC_NET_H
#define SPEC_NET_H

#include "shrink.h"

typedef enum { SPEC_INTERPRET, SPEC_SMALL, SPEC_COMPILE } SpecCompile; /* SMALL: if not shrunk */

/* Number of failures, each printed.  budget: seconds for directions behind the fourth. */
int spec_net(const char *path, const char *net, double budget, SpecCompile compile);

/* Calls run(path, net, nth net of its file, data) for each net and variant of the files in specs/,
 * except for those that a file includes; the number of calls.  only: one file's, or NULL. */
int spec_each(const char *only, void (*run)(const char *path, const char *net, int nth, void *data),
              void *data);
/* Does a file that this one includes define the net (or variant)?  It is counted there. */
bool spec_included(Arena *a, const Ast *file, const char *name);
#endif
