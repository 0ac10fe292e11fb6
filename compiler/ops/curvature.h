/* curvature.h: rules for second derivatives: the diagonal of Gauss and Newton's approximation.
 *
 * Backwards through the network goes, beside a value x, h(x) = d2 E / d x2, where the second
 * derivatives of layers and all that couples two numbers are left out: through y = f(x) it becomes
 * f'(x)^2 h(y), through a linear layer the adjoint with squared weights, for a weight the sum of
 * squared sources times h over all places that share it.  h of a parameter is the sum over the
 * images: the program is run with 1 for 1 / n.
 * theory: LeCun et al. 1998, appendix C, equations (22) to (28); Becker, LeCun 1988, "Improving the
 * convergence of back-propagation learning with second order methods".
 */
#ifndef OPS_CURVATURE_H
#define OPS_CURVATURE_H

#include "ir/op.h"

/* Does the node have a rule? */
bool curvature_defined(const Graph *g, NodeId n);
/* v->dx from v->dy (curvatures) and v->gy (gradients). */
bool curvature_rule(Vjp *v);

/* Rules for OpDef.curvature: what is linear in each of its first two inputs (the adjoint with both
 * squared), and a loss whose gradient is p - target. */
bool curvature_product(Vjp *v);
bool curvature_loss(Vjp *v, int op);
/* A pool none of whose windows is cut off by a border. */
bool whole_windows(const Graph *g, NodeId n);

#endif
