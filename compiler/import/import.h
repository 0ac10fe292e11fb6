/* import.h: networks and weights of other programs become a .net spec and a safetensors file.
 *
 *     ImportOptions o = {.path = "lenet.caffemodel", .output = "lenet"};
 *     ImportResult r;
 *     int code = import_file(arena, &o, &r);     NETC_OK, or one of base/bug.h with r.text
 *
 * Reads caffemodel (both layer formats, with a prototxt if need be), ONNX (inference, opset 7 and
 * up), safetensors, npy and npz.  Nothing of a file is believed: every size is checked against the
 * bytes that are there before memory is asked for.  Formats that run code or need foreign libraries
 * are recognised and refused with the way to convert them.
 */
#ifndef IMPORT_IMPORT_H
#define IMPORT_IMPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

typedef enum ImportOrder { IMPORT_ORDER_FILE, IMPORT_ORDER_RGB, IMPORT_ORDER_BGR } ImportOrder;

typedef struct ImportOptions {
    const char *path;     /* what to import */
    const char *prototxt; /* Caffe: a text description that replaces the file's own; NULL */
    const char *output;   /* NULL: beside nothing, named after the file; see import_output */
    const char *input;    /* "3x227x227": size of the input image where the file has none; NULL */
    const char *mean;     /* "104,117,123": means of R, G, B in the scale 0..255; NULL */
    const char *rename;   /* "OLD:NEW,..": in names of tensors, where no network names them; NULL */
    ImportOrder order;    /* of the colour planes; FILE: what the format says or its custom */
    bool plain;           /* no folding into blocks */
} ImportOptions;

typedef struct ImportResult {
    char text[1024];     /* an error: what, and behind a newline "help: " */
    const char *weights; /* path written */
    const char *spec;    /* path written, or NULL: the format has weights only */
    const char *format;  /* "Caffe", "ONNX", "safetensors", "npz", "npy" */
    const char *notes;   /* lines the user should read, or "" */
    int64_t trained;     /* parameters without running statistics */
    int64_t statistics;  /* running means and variances */
    int tensors, layers; /* layers: 0 without a spec */
} ImportResult;

/* Imports options->path and writes the files.  Either all of them appear or none. */
int import_file(Arena *arena, const ImportOptions *options, ImportResult *result);

/* The same up to writing: for tests and fuzzers.  *spec is the text of the spec, or NULL. */
int import_text(Arena *arena, const ImportOptions *options, ImportResult *result,
                const char **spec);

#endif
