/* ref_recur.h: the loops and cases of ref_recur.c, for the tables in ref_ops.c and ref_cases.c. */
#ifndef REF_RECUR_H
#define REF_RECUR_H

#include "ref_cases.h"
#include "ref_ops.h"

void ref_lstm(const RefCall *r);
void ref_lstm_scan(const RefCall *r);
void ref_lstm_scan_bwd(const RefCall *r);
void ref_gru(const RefCall *r);
void ref_gru_scan(const RefCall *r);
void ref_gru_scan_bwd(const RefCall *r);

enum { REF_RECUR_CASES = 12, REF_GRU_CASES = 8 /* the first of them */ };
RefCase ref_recur_case(Arena *keep, int op, int i);

#endif
