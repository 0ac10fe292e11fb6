/* ref_clip.h: the loops and cases of ref_clip.c, for the tables in ref_ops.c and ref_cases.c. */
#ifndef REF_CLIP_H
#define REF_CLIP_H

#include "ref_cases.h"
#include "ref_ops.h"

void ref_load_input(const RefCall *r);
void ref_frames(const RefCall *r);
void ref_frames_max(const RefCall *r);
void ref_frames_max_bwd(const RefCall *r);

int ref_clip_count(int op);
RefCase ref_clip_case(Arena *keep, int op, int i);

/* A convolution over maps, frames, rows and columns, from its definition: src [n][c][d][h][w] of a
 * batch, weights [o][c][kd][kh][kw], dst [n][o][od][oh][ow]; extents d, h, w; pad in front alone
 * (what dst's extents reach behind is zero). */
typedef struct RefBox {
    int64_t n, c, o, src[3], dst[3], kernel[3], stride[3], pad[3], apart[3];
} RefBox;
void ref_conv3d(const RefBox *b, const double *src, const double *weights, const double *bias,
                double *dst);
/* Maximum (first in memory order: `from` gets its index) or mean of the cells that exist. */
void ref_pool3d(const RefBox *b, bool max, const double *src, double *dst, int64_t *from);

#endif
