/* rt_diagram.h: a network drawn as SVG: a box per layer with its shape, arrows for what it reads. */
#ifndef RT_DIAGRAM_H
#define RT_DIAGRAM_H

#include "rt_abi.h"
#include "rt_text.h"

/* Appends one <svg> element with its own style, at most RT_DIAGRAM_WIDTH wide: the computation runs
 * from left to right and goes on in the next line, as a text does.  Long networks show equal blocks
 * in a row once.  The group of a box names its layers (data-layer).  xmlns: 1 for a file of its own,
 * 0 inside HTML. */
enum { RT_DIAGRAM_WIDTH = 1080 };
int rt_diagram(rt_text *out, const rt_model *m, int xmlns, rt_error *err);

#endif
