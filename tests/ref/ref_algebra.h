/* ref_algebra.h: loops and cases of the elementwise algebra, thresholds and margin losses. */
#ifndef REF_ALGEBRA_H
#define REF_ALGEBRA_H

#include "ref_cases.h"

enum { REF_CURVE_CASES = 9, REF_ARITH_CASES = 16 };
RefCase ref_curve_case(Arena *keep, int op, int i);
RefCase ref_arith_case(Arena *keep, int op, int i);

#define REF(name) void ref_##name(const RefCall *r)
REF(leaky_relu);
REF(leaky_relu_bwd);
REF(prelu);
REF(prelu_bwd);
REF(elu);
REF(elu_bwd);
REF(softplus);
REF(softplus_bwd);
REF(swish);
REF(swish_bwd);
REF(gelu);
REF(gelu_bwd);
REF(abs);
REF(abs_bwd);
REF(neg);
REF(scale);
REF(clip);
REF(clip_bwd);
REF(square);
REF(sqrt);
REF(exp);
REF(log);
REF(pow);
REF(pow_bwd);
REF(add);
REF(mul);
REF(sub);
REF(div);
REF(maximum);
REF(minimum);
REF(pass_ge);
REF(pass_lt);
REF(sum_to);
#undef REF

#endif
