/* hooks.h: the code-making hooks of the operator families, so that facts (x.c) and code (x_lower.c)
 * can live in separate files.  A name left undefined is a null pointer (weak): a tool that only
 * needs shapes links without the code generators. */
#ifndef OPS_HOOKS_H
#define OPS_HOOKS_H

#include "ir/op.h"
#include "ir/plan.h"

#define WEAK __attribute__((weak))
#define LOWER(name) WEAK void lower_##name(KernelCtx *k)
#define SCALAR(name) WEAK struct LLVMOpaqueValue *scalar_##name(ScalarCtx *s)
#define CHOOSE(name) WEAK void choose_##name(const Graph *g, struct Kernel *k, const Target *t)
#define WEIGHTS(name)                                                                              \
    WEAK bool weights_##name(const Graph *g, NodeId n, int input, const Target *t, Layout *out)

/* conv_lower.c, conv_bww_lower.c, dense_*_lower.c, conv_tiles.c: convolution and dense */
LOWER(conv); LOWER(conv_bwd_data); LOWER(conv_bwd_weights); LOWER(dense); LOWER(dense_bwd_data);
LOWER(dense_bwd_weights); LOWER(transpose_weights); LOWER(bias_grad);
CHOOSE(conv); CHOOSE(conv_bwd_data); CHOOSE(conv_bwd_weights); CHOOSE(dense); CHOOSE(dense_bwd_data);
CHOOSE(dense_bwd_weights); CHOOSE(transpose_weights); CHOOSE(bias_grad);
WEIGHTS(conv); WEIGHTS(conv_bwd_data); WEIGHTS(conv_bwd_weights); WEIGHTS(dense);
WEIGHTS(dense_bwd_data); WEIGHTS(dense_bwd_weights); WEIGHTS(transpose_weights);

/* map_lower.c: standalone elementwise kernels (anchor is itself elementwise); elementwise_lower.c */
LOWER(map); CHOOSE(map);
SCALAR(relu); SCALAR(relu_bwd); SCALAR(tanh); SCALAR(tanh_bwd); SCALAR(stanh); SCALAR(stanh_bwd);
SCALAR(sigmoid); SCALAR(sigmoid_bwd); SCALAR(dropout); SCALAR(dropout_bwd);
/* algebra_lower.c */
SCALAR(leaky_relu); SCALAR(leaky_relu_bwd); SCALAR(prelu); SCALAR(prelu_bwd); SCALAR(elu);
SCALAR(elu_bwd); SCALAR(softplus); SCALAR(softplus_bwd); SCALAR(swish); SCALAR(swish_bwd);
SCALAR(gelu); SCALAR(gelu_bwd); SCALAR(abs); SCALAR(abs_bwd); SCALAR(neg); SCALAR(scale);
SCALAR(clip); SCALAR(clip_bwd); SCALAR(square); SCALAR(sqrt); SCALAR(exp); SCALAR(log); SCALAR(pow);
SCALAR(pow_bwd);
/* threshold_lower.c */
SCALAR(soft_threshold); SCALAR(hard_threshold); SCALAR(threshold_bwd);
/* loss_error_lower.c, loss_margin_lower.c */
LOWER(kl); LOWER(kl_bwd); LOWER(mae); SCALAR(error_bwd); LOWER(logistic); LOWER(logistic_bwd); LOWER(hinge); LOWER(hinge_bwd);
/* arith_lower.c */
SCALAR(add); SCALAR(mul); SCALAR(sub); SCALAR(div); SCALAR(maximum); SCALAR(minimum);
SCALAR(pass_ge); SCALAR(pass_lt); LOWER(sum_to); CHOOSE(sum_to);

/* deconv.c is made of conv_bwd_data; elementwise_lower.c: */
SCALAR(channel_add);

/* param_lower.c: what has no images */
LOWER(vdense); LOWER(vdense_bwd_data); LOWER(vdense_bwd_weights); LOWER(repack);
CHOOSE(vdense); CHOOSE(repack);

/* pool_lower.c, norm_lower.c, softmax_lower.c, shape_lower.c, rbf_lower.c */
LOWER(load_input); LOWER(subsample); LOWER(subsample_bwd_data); LOWER(subsample_bwd_coef);
LOWER(maxpool); LOWER(maxpool_bwd); LOWER(avgpool); LOWER(avgpool_bwd); LOWER(lrn); LOWER(lrn_bwd);
LOWER(lcn); LOWER(lcn_bwd); LOWER(softmax); LOWER(softmax_bwd); LOWER(flatten); LOWER(unflatten);
LOWER(concat); LOWER(slice); LOWER(rbf); LOWER(rbf_bwd_data); LOWER(rbf_bwd_centers);
LOWER(cross_entropy); LOWER(cross_entropy_bwd); LOWER(mse); LOWER(mse_bwd); LOWER(lenet_map);
LOWER(lenet_map_bwd);
CHOOSE(load_input); CHOOSE(subsample_bwd_coef); CHOOSE(rows); /* rows: one task per (n, cb, row band) */
CHOOSE(images);                                           /* images: one task per image */
CHOOSE(rbf_bwd_centers);
CHOOSE(norm);  /* lrn, lcn and gradients: one task per row band, all channels */
WEIGHTS(rbf); WEIGHTS(rbf_bwd); /* rbf: input 1; gradients: input 2 or the output of bwd_centers */

/* objective_lower.c */
LOWER(gram); LOWER(gram_bwd); LOWER(tv); LOWER(tv_bwd); LOWER(alpha_norm); LOWER(penalty);
SCALAR(alpha_norm_bwd); CHOOSE(gram); CHOOSE(gram_bwd);

/* lstm_lower.c, gru_lower.c, what both share in scan_lower.c */
LOWER(lstm_scan); LOWER(lstm_scan_bwd); LOWER(gru_scan); LOWER(gru_scan_bwd);
CHOOSE(scan); WEIGHTS(scan);

/* optim_lower.c: all optimizers; clip_norm_lower.c */
LOWER(update); LOWER(square_sums); LOWER(clip_factor);
CHOOSE(update); CHOOSE(square_sums); CHOOSE(clip_factor);
WEAK void update_sgd(struct UpdateStep *s);
WEAK void update_adam(struct UpdateStep *s);
WEAK void update_rmsprop(struct UpdateStep *s);
WEAK void update_sdlm(struct UpdateStep *s);
WEAK void update_slbi(struct UpdateStep *s);
WEAK void update_slbi_groups(struct UpdateStep *s);
WEAK void update_curvature(struct UpdateStep *s);

/* frames_lower.c */
LOWER(frames); LOWER(frames_max); LOWER(frames_max_bwd); CHOOSE(frames);

/* resample_lower.c */
LOWER(resample); LOWER(transpose); LOWER(channel_shuffle); /* transpose_maps_lower.c */

/* norm_batch_lower.c: moments: one task per image and channel block */
LOWER(moments); LOWER(bn_combine); LOWER(bn_scale); LOWER(bn_running); LOWER(bn_bwd_sums);
LOWER(bn_bwd_coef);
CHOOSE(moments); CHOOSE(bn_combine); CHOOSE(bn_vectors);
SCALAR(scale_shift); SCALAR(channel_mul); SCALAR(bn_bwd_data);

/* conv_tail.c: can the kernel's anchor pool its own output (fuse asks; absent or false: no
 * Kernel.tail)? */
WEAK bool conv_accepts_tail(const Graph *g, const struct Kernel *k, NodeId pool);

/* conv_band.c: can kernel k make its source, which only it reads, in place of kernel `source`, and
 * does that pay?  *fused: kernel k with that (band asks; absent or false: no). */
WEAK bool conv_takes_source(const Graph *g, const struct Kernel *k, const struct Kernel *source,
                            const Target *t, struct Kernel *fused);

/* Can this kernel (a weights' gradient, with what it has already) apply the update, or compute the
 * bias' gradient beside it, or apply that one's update (fuse asks; absent or false: no)? */
WEAK bool bww_accepts(const Graph *g, const struct Kernel *k, NodeId next);

/* lanes*.c: block kernels (ir/lanes.h) */
#define LANES(name) WEAK void lanes_##name(struct LanesCtx *l)
#define LANES_HALO(name)                                                                           \
    WEAK void lanes_halo_##name(const Graph *g, NodeId n, int input, const Target *t, int halo[4])
LOWER(lanes);
WEAK void lower_lanes_step(KernelCtx *k, int step); /* a step, or an update's late kernel */
LANES(load_input); LANES(conv); LANES(conv_bwd_data); LANES(conv_bwd_weights); LANES(bias_grad);
LANES(subsample); LANES(subsample_bwd_data); LANES(subsample_bwd_coef); LANES(maxpool);
LANES(maxpool_bwd); LANES(avgpool); LANES(avgpool_bwd); LANES(softmax); LANES(softmax_bwd);
LANES(copy); LANES(concat); LANES(slice); LANES(rbf); LANES(rbf_bwd_data); LANES(rbf_bwd_centers);
LANES(cross_entropy); LANES(cross_entropy_bwd); LANES(mse); LANES(mse_bwd); LANES(lenet_map);
LANES(lenet_map_bwd);
LANES_HALO(conv); LANES_HALO(conv_bwd_data);
/* Can the step's convolution pool its own register tiles (else its tail is a step of its own)? */
WEAK bool lanes_pools(const Graph *g, const struct Kernel *step, const Target *t);
struct Lanes;
/* m of F(m x m, kernel) by which a convolution or a gradient of it goes in a block, 0: directly; its
 * vector instructions for each of the direct way; bytes of work space while it runs. */
WEAK int lanes_winograd(const Graph *g, const Node *n);
WEAK double lanes_work(const Graph *g, const Node *n);
WEAK int64_t lanes_workspace(const Graph *g, const Node *n, const Target *t);
/* Can this kernel, a gradient with its update, be a part of the update of all? */
WEAK bool lanes_late(const Graph *g, const struct Kernel *k);
WEAK int64_t lanes_update_tasks(const Graph *g, const struct Lanes *update);

#undef LANES
#undef LANES_HALO
#undef LOWER
#undef SCALAR
#undef CHOOSE
#undef WEIGHTS
#endif
