/* ref_params.h: the loops and cases of ref_params.c, for the tables in ref_ops.c and ref_cases.c. */
#ifndef REF_PARAMS_H
#define REF_PARAMS_H

#include "ref_cases.h"
#include "ref_ops.h"

void ref_deconv(const RefCall *r);
void ref_channel_add(const RefCall *r);

void ref_vdense(const RefCall *r);
void ref_vdense_bwd_data(const RefCall *r);
void ref_vdense_bwd_weights(const RefCall *r);
void ref_repack(const RefCall *r);

enum { REF_PARAM_CASES = 8, REF_REPACK_CASES = 10 };
RefCase ref_param_case(Arena *keep, int op, int i);
RefCase ref_repack_case(Arena *keep, int op, int i);
enum { REF_DECONV_CASES = 14 };
RefCase ref_deconv_case(Arena *keep, int op, int i);

#endif
