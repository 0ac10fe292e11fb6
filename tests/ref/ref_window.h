/* ref_window.h: the loops and cases of ref_window.c, for the tables in ref_ops.c and ref_cases.c. */
#ifndef REF_WINDOW_H
#define REF_WINDOW_H

#include "ref_cases.h"
#include "ref_ops.h"

void ref_global_avgpool(const RefCall *r);
void ref_global_maxpool(const RefCall *r);
void ref_mean(const RefCall *r);
void ref_max(const RefCall *r);
void ref_resample(const RefCall *r);
void ref_crop(const RefCall *r);
void ref_pad(const RefCall *r);
void ref_downsample(const RefCall *r);
void ref_upsample(const RefCall *r);
void ref_resize(const RefCall *r);
void ref_lp_pool(const RefCall *r);
void ref_subtractive_norm(const RefCall *r);
void ref_divisive_norm(const RefCall *r);
void ref_transpose(const RefCall *r);
void ref_channel_shuffle(const RefCall *r);
void ref_reshape(const RefCall *r);

int ref_window_count(int op);
RefCase ref_window_case(Arena *keep, int op, int i);

#endif
