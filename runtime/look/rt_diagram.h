/* rt_diagram.h: a network drawn as SVG: a box per layer with its shape, in the order of computation. */
#ifndef RT_DIAGRAM_H
#define RT_DIAGRAM_H

#include "rt_model.h"
#include "rt_text.h"

/* Appends one <svg> element for an HTML page; nothing for a network without layers.  Colours are
 * those of the page (class names line, box, conv, pool, full, other), so that it can be dark. */
void rt_diagram(rt_text *out, const rt_model *m);

#endif
