/* rt_sources.h: what the tests of data sources share: one that opens, one that is refused. */
#ifndef RT_SOURCES_H
#define RT_SOURCES_H

#include "rt_data.h"
#include "rt_files.h"

__attribute__((unused)) static rt_dataset *open_ok(const char *uri, const char *split) {
    rt_dataset *ds = NULL;
    rt_error e = {0};
    int code = rt_data_open(uri, split, &ds, &e);
    if (code != 0)
        printf("%s %s: %s\n", uri, split, e.text);
    CU_ASSERT_EQUAL_FATAL(code, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(ds);
    return ds;
}

/* Fails with this code and these words in the text, and leaves nothing behind. */
__attribute__((unused)) static void refuses_both(const char *uri, const char *split, int code,
                                                 const char *word, const char *word2) {
    rt_dataset *ds = (rt_dataset *)files_dir;
    rt_error e = {0};
    size_t live = rt_alloc_live();
    CU_ASSERT_EQUAL(rt_data_open(uri, split, &ds, &e), code);
    CU_ASSERT_PTR_NULL(ds);
    if (!strstr(e.text, word) || !strstr(e.text, word2))
        printf("%s: expected '%s' and '%s' in: %s\n", uri, word, word2, e.text);
    CU_ASSERT(strstr(e.text, word) && strstr(e.text, word2));
    CU_ASSERT_EQUAL(rt_alloc_live(), live);
}

__attribute__((unused)) static void refuses(const char *uri, const char *split, int code,
                                            const char *word) {
    refuses_both(uri, split, code, word, "");
}

#endif
