/* rt_show.h: the sheet that `NAME data show` draws (rt_show.c). */
#ifndef RT_SHOW_H
#define RT_SHOW_H

#include "rt_cli.h"

/* samples <= 64 rows, 1 + times columns.  Exit code as of a verb. */
int rt_data_show(rt_cli *cli, const char *path, int64_t samples, int64_t times);

#endif
