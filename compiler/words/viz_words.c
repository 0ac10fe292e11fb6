/* viz_words.c: run while netc is built: writes the verbs of NAME-viz and their options as C, from the
 * techniques' own tables, so that the compiler checks visualize sections by what programs take
 * without containing a runtime.  Output: rows for front/viz_words.h.
 */
#include <stdio.h>

#include "rt_viz.h"

static void text(const char *s) {
    if (!s) {
        printf("NULL");
        return;
    }
    putchar('"');
    for (; *s; s++)
        if (*s == '"' || *s == '\\')
            printf("\\%c", *s);
        else
            putchar(*s);
    putchar('"');
}

int main(void) {
    rt_arg table[RT_VIZ_ARGS];
    const char *verb;
    int n, verbs = 0;
    printf("/* made by viz_words */\n");
    for (; (n = rt_viz_words(&verb, table, verbs)) >= 0; verbs++) {
        printf("static const rt_arg viz_args_%d[] = {\n", verbs);
        for (int i = 0; i < n; i++) {
            printf("    {");
            text(table[i].name ? table[i].name : "");
            printf(", 0, (rt_arg_kind)%d, ", (int)table[i].kind);
            text(table[i].value);
            printf(", &viz_sink, INT64_C(%lld), INT64_C(%lld), \"\"},\n", (long long)table[i].min,
                   (long long)table[i].max);
        }
        printf("};\n");
    }
    printf("static const VizVerb viz_verbs[] = {\n");
    for (int i = 0; i < verbs; i++) {
        n = rt_viz_words(&verb, table, i);
        printf("    {\"%s\", viz_args_%d, %d},\n", verb, i, n);
    }
    printf("};\n");
    return verbs == 0;
}
