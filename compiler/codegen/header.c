/* header.c: the C header of a model built as a library.
 *
 * ensures: valid C99 and C++; a handle type of its own per model, so that two models cannot be mixed
 * up; inline wrappers over netrt.h, which never exits or prints.
 */
#include <ctype.h>
#include <string.h>

#include "codegen/codegen.h"

/* Words of C and C++ that a type cannot have as its name. */
static bool is_keyword(const char *name) {
    static const char *const word[] = {
        "alignas", "alignof", "and", "asm", "auto", "bitand", "bitor", "bool", "break", "case",
        "catch", "char", "class", "compl", "concept", "const", "constexpr", "continue", "decltype",
        "default", "delete", "do", "double", "else", "enum", "explicit", "export", "extern",
        "false", "float", "for", "friend", "goto", "if", "inline", "int", "long", "main",
        "mutable", "namespace", "netrt", "new", "noexcept", "not", "nullptr", "operator", "or",
        "private", "protected", "public", "register", "requires", "restrict", "return", "short",
        "signed", "sizeof", "static", "struct", "switch", "template", "this", "throw", "true",
        "try", "typedef", "typeid", "typename", "typeof", "union", "unsigned", "using", "virtual",
        "void", "volatile", "while", "xor"};
    for (size_t i = 0; i < sizeof word / sizeof *word; i++)
        if (strcmp(name, word[i]) == 0)
            return true;
    return false;
}

static void upper(char *out, size_t n, const char *name) {
    size_t i = 0;
    for (; name[i] && i + 1 < n; i++)
        out[i] = (char)toupper((unsigned char)name[i]);
    out[i] = 0;
}

static void header_sizes(const Model *m, const char *up, FILE *out) {
    const rt_input_spec *in = m->ninputs ? &m->input[0].prep : NULL;
    fprintf(out, "enum {\n");
    if (in)
        fprintf(out, "    %s_CHANNELS = %lld,\n    %s_HEIGHT = %lld,\n    %s_WIDTH = %lld,\n", up,
                (long long)in->c, up, (long long)in->h, up, (long long)in->w);
    for (int i = 0; m->noutputs > 1 && i < m->noutputs; i++) {
        const ModelOutput *o = &m->output[i];
        char size[256];
        upper(size, sizeof size, o->name);
        for (char *p = size; *p; p++)
            *p = *p == '.' ? '_' : *p;
        fprintf(out, "    %s_SIZE_%s = %lld, /* numbers of the output \"%s\" */\n", up, size,
                (long long)shape_elems(&o->shape), o->name);
    }
    fprintf(out, "    %s_CLASSES = %lld\n};\n\n", up, (long long)m->classes);
}

void header_print(const Model *m, const char *name, FILE *out) {
    char up[256], type[256];
    upper(up, sizeof up, name);
    snprintf(type, sizeof type, "%s%s", name, is_keyword(name) ? "_net" : "");
    fprintf(out,
            "/* %s.h: the network %s (%s), compiled by netc.\n"
            " *\n"
            " * Link with lib%s.a or lib%s.so and -lpng -lturbojpeg -lz -lgomp -lm.  Functions return\n"
            " * 0 or a NETRT_E* code and put a text into *err (may be NULL); none prints or exits. */\n"
            "#ifndef NETC_%s_H\n#define NETC_%s_H\n\n#include \"netrt.h\"\n\n"
            "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\nextern const rt_model %s_model;\n\n",
            name, m->name, m->hash, name, name, up, up, name);
    header_sizes(m, up, out);
    fprintf(out, "typedef struct %s { netrt *net; } %s;\n\n", type, type);
    fprintf(out,
            "/* weights: a safetensors file, or NULL for fresh weights from the spec's seed */\n"
            "static inline int %s_open(%s *m, const char *weights, rt_error *err) {\n"
            "    int code = netrt_open(&%s_model, 0, &m->net, err);\n"
            "    if (code == 0 && weights && (code = netrt_load(m->net, weights, 0, err)) != 0)\n"
            "        netrt_close(m->net), m->net = 0;\n    return code;\n}\n",
            name, type, name);
    fprintf(out, "static inline void %s_close(%s *m) { netrt_close(m->net), m->net = 0; }\n", name,
            type);
    fprintf(out,
            "/* images: n * CHANNELS * HEIGHT * WIDTH floats, planes first; out: n * CLASSES floats */\n"
            "static inline int %s_predict(%s *m, const float *images, int64_t n, float *out, "
            "rt_error *err) {\n    return netrt_forward(m->net, images, n, 0, out, err);\n}\n",
            name, type);
    fprintf(out,
            "/* the outputs of these names in one pass: out[k] receives n * its size floats */\n"
            "static inline int %s_outputs(%s *m, const float *images, int64_t n, int count,\n"
            "        const char *const *name, float *const *out, rt_error *err) {\n"
            "    return netrt_forward_outputs(m->net, images, n, count, name, out, err);\n}\n",
            name, type);
    fprintf(out,
            "/* one picture file, preprocessed as the spec says */\n"
            "static inline int %s_image(const %s *m, const char *path, float *chw, rt_error *err) "
            "{\n    return netrt_image(m->net, path, chw, err);\n}\n",
            name, type);
    fprintf(out,
            "/* one training step; labels are class indices */\n"
            "static inline int %s_step(%s *m, const float *images, const int32_t *labels, int64_t n,"
            "\n        double *loss, rt_error *err) {\n"
            "    return netrt_step(m->net, images, labels, n, loss, err);\n}\n",
            name, type);
    fprintf(out,
            "static inline int %s_save(%s *m, const char *path, rt_error *err) {\n"
            "    return netrt_save(m->net, path, err);\n}\n\n"
            "#ifdef __cplusplus\n}\n#endif\n#endif\n",
            name, type);
}
