/* rt_layout.h: between logical order (row-major over the shape, as saved and shown) and the
 * physical order kernels use (blocked, padded, with halos: a nest of axes, rt_abi.h).
 *
 * A logical element has exactly one physical place; physical places without a logical element are
 * padding and hold zero.  f32 unless said otherwise.
 */
#ifndef RT_LAYOUT_H
#define RT_LAYOUT_H

#include "rt_abi.h"

/* Elements: product of the logical extents; product of the axes' extents.  -1: overflow or a
 * layout that cannot be (an extent below 1, more than RT_MAX_AXES axes, an unknown dimension). */
int64_t rt_layout_count(const rt_layout *layout);
int64_t rt_layout_physical(const rt_layout *layout);

/* physical -> logical; every logical element is written.  threads: how many may be used. */
void rt_layout_unpack(const rt_layout *layout, const float *physical, float *logical, int threads);
/* logical -> physical; padding and halo are set to zero. */
void rt_layout_pack(const rt_layout *layout, const float *logical, float *physical, int threads);
/* The same for rows first .. first + n - 1 of the outermost logical dimension (rank 0: one row);
 * rows holds these alone.  Packing leaves padding and halo as they are. */
void rt_layout_unpack_rows(const rt_layout *layout, const float *physical, float *rows,
                           int64_t first, int64_t n, int threads);
void rt_layout_pack_rows(const rt_layout *layout, const float *rows, float *physical, int64_t first,
                         int64_t n, int threads);
/* The same with a physical side of bfloat16: packing rounds to the nearest, ties to even. */
void rt_layout_unpack_rows16(const rt_layout *layout, const uint16_t *physical, float *rows,
                             int64_t first, int64_t n, int threads);
void rt_layout_pack_rows16(const rt_layout *layout, const float *rows, uint16_t *physical,
                           int64_t first, int64_t n, int threads);
/* physical of any dtype (RT_F32, RT_I32, RT_U8) -> logical floats. */
void rt_layout_read(const rt_layout *layout, int dtype, const void *physical, float *logical);
/* Physical element number of a logical index, -1: none. */
int64_t rt_layout_at(const rt_layout *layout, const int64_t index[RT_MAX_DIMS]);

#endif
