/* rt_peak.h: the arithmetic peak of this machine with the vectors a model was compiled for. */
#ifndef RT_PEAK_H
#define RT_PEAK_H

#include "rt_abi.h"

/* f32 lanes per vector of a target: 16, 8 or 4, from the processor features it needs. */
int rt_peak_lanes(const rt_model *model);

/* Measured multiply-add rate in flops per second: independent chains in registers on `threads`
 * threads at once, best of several tries of a few milliseconds each. */
double rt_peak_flops(int lanes, int threads);

#endif
