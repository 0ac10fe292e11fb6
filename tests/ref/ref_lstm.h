/* ref_lstm.h: the loops and cases of ref_lstm.c, for the tables in ref_ops.c and ref_cases.c. */
#ifndef REF_LSTM_H
#define REF_LSTM_H

#include "ref_cases.h"
#include "ref_ops.h"

void ref_lstm(const RefCall *r);
void ref_lstm_scan(const RefCall *r);
void ref_lstm_scan_bwd(const RefCall *r);

enum { REF_LSTM_CASES = 12 };
RefCase ref_lstm_case(Arena *keep, int op, int i);

#endif
