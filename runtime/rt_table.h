/* rt_table.h: data sets that are one table of bytes in memory (idx, CIFAR); private to those files.
 */
#ifndef RT_TABLE_H
#define RT_TABLE_H

#include "rt_data.h"

struct rt_table {
    unsigned char *pixels;
    unsigned char *labels; /* NULL: none */
    size_t item_bytes;
    char *name; /* of the picture file, without its folder */
    int planar; /* 1: channel planes (CIFAR), 0: HWC */
};

/* Puts an empty table and these operations into ds; NULL when memory is short. */
struct rt_table *rt_table_new(rt_dataset *ds, const struct rt_data_ops *ops, rt_error *err);

int rt_table_label(const rt_dataset *ds, int64_t i);
int rt_table_item(const rt_dataset *ds, int64_t i, rt_image *img, rt_error *err);
const char *rt_table_name(const rt_dataset *ds, int64_t i, char *buf, size_t cap);
void rt_table_close(rt_dataset *ds);

#endif
