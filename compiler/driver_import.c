/* driver_import.c: the verb `import`: another program's network becomes NAME.net and
 * NAME.safetensors.
 *
 * ensures: one line on stdout for each file written; what the user should know on stderr; a failure
 * names file, cause and next step.
 */
#define _GNU_SOURCE
#include <string.h>

#include "base/bug.h"
#include "driver_stages.h"
#include "import/import.h"

static void put_grouped(int64_t n, FILE *out) {
    if (n >= 1000) {
        put_grouped(n / 1000, out);
        fprintf(out, ",%03d", (int)(n % 1000));
    } else {
        fprintf(out, "%d", (int)n);
    }
}

static void tell(const ImportResult *r) {
    printf("%s  (%d tensors, ", r->weights, r->tensors);
    put_grouped(r->trained, stdout);
    fputs(" parameters", stdout);
    if (r->statistics) {
        fputs(", ", stdout);
        put_grouped(r->statistics, stdout);
        fputs(" running statistics", stdout);
    }
    puts(")");
    if (r->spec)
        printf("%s  (%d layers)\n", r->spec, r->layers);
}

int verb_import(Compile *c) {
    const Options *o = c->options;
    ImportOptions options = {.path = o->operands[0],
                             .prototxt = o->prototxt,
                             .output = o->output,
                             .input = o->input_size,
                             .mean = o->mean,
                             .rename = o->rename,
                             .order = (ImportOrder)o->order,
                             .plain = o->plain};
    ImportResult result;
    if (o->output && strcmp(o->output, "-") == 0) {
        fputs("netc: error: two files cannot be written to standard output\n"
              "help: name them with -o NAME, or a folder with -o FOLDER/\n",
              stderr);
        return NETC_USAGE;
    }
    int status = import_file(c->keep, &options, &result);

    if (status) {
        fprintf(stderr, "netc: error: %s\n", result.text);
        return status;
    }
    if (!o->quiet && *result.notes)
        for (const char *p = result.notes; *p; p += strcspn(p, "\n") + 1)
            fprintf(stderr, "netc: note: %.*s\n", (int)strcspn(p, "\n"), p);
    if (!o->quiet)
        tell(&result);
    return NETC_OK;
}
