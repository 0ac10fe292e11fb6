/* ref_loss.h: loops and cases of the losses and thresholds. */
#ifndef REF_LOSS_H
#define REF_LOSS_H

#include "ref_cases.h"

enum { REF_LOSS_CASES = 16, REF_THRESHOLD_CASES = 12 };
RefCase ref_loss_case(Arena *keep, int op, int i);
RefCase ref_threshold_case(Arena *keep, int op, int i);

void ref_cross_entropy(const RefCall *r);
void ref_cross_entropy_bwd(const RefCall *r);
void ref_mse(const RefCall *r);
void ref_mse_bwd(const RefCall *r);
void ref_mae(const RefCall *r);
void ref_error_bwd(const RefCall *r);
void ref_kl(const RefCall *r);
void ref_kl_bwd(const RefCall *r);
void ref_logistic(const RefCall *r);
void ref_logistic_bwd(const RefCall *r);
void ref_hinge(const RefCall *r);
void ref_hinge_bwd(const RefCall *r);
void ref_soft_threshold(const RefCall *r);
void ref_hard_threshold(const RefCall *r);
void ref_threshold_bwd(const RefCall *r);

#endif
