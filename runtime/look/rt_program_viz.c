/* rt_program_viz.c: `main` of a model's program NAME-viz, chosen by the linker (--defsym=main=...).
 *
 * Lives in its own archive member, so that libraries, which bring no netc_model, never pull it in.
 */
#include "netrt.h"

/* weak: a shared library has another name for its model and never runs this */
extern const rt_model netc_model __attribute__((weak));

int netrt_program_viz(int argc, char **argv);
int netrt_program_viz(int argc, char **argv) { return netrt_viz_main(&netc_model, argc, argv); }
