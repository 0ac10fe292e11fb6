/* random_spec.h: random networks as `.net` text, from a seed.
 *
 * One to six layers over images (convolutions of all kinds, pools, normalisations, functions,
 * dropout, residual sums, branches), then dense layers and a loss.  Sizes are small but on both
 * sides of every tile: channels beside multiples of the vector, odd heights and widths, enough maps
 * for Winograd.  The text passes through the whole front end, as a person's would.
 */
#ifndef RANDOM_SPEC_H
#define RANDOM_SPEC_H

#include <stdint.h>

#include "base/arena.h"

const char *random_spec(Arena *keep, uint32_t seed);

#endif
