/* ref_objective.h: loops and cases of Gram matrices, total variation, powers and penalties. */
#ifndef REF_OBJECTIVE_H
#define REF_OBJECTIVE_H

#include "ref_cases.h"

enum { REF_OBJECTIVE_CASES = 12 };
RefCase ref_objective_case(Arena *keep, int op, int i);

#define REF(name) void ref_##name(const RefCall *r)
REF(gram);
REF(gram_bwd);
REF(tv);
REF(tv_bwd);
REF(alpha_norm);
REF(alpha_norm_bwd);
REF(penalty);
#undef REF

#endif
