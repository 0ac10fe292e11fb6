/* ref_norm.h: the loops of ref_norm.c, for the table in ref_ops.c. */
#ifndef REF_NORM_H
#define REF_NORM_H

#include "ref_ops.h"

void ref_bn(const RefCall *r);
void ref_instancenorm(const RefCall *r);
void ref_moments(const RefCall *r);
void ref_bn_combine(const RefCall *r);
void ref_bn_scale(const RefCall *r);
void ref_bn_running(const RefCall *r);
void ref_scale_shift(const RefCall *r);
void ref_channel_mul(const RefCall *r);
void ref_bn_bwd_sums(const RefCall *r);
void ref_bn_bwd_coef(const RefCall *r);
void ref_bn_bwd_data(const RefCall *r);

#endif
