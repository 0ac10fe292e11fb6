/* store.c: the importer's only door to files: the runtime's readers and writer, which are linked
 * into netc so that safetensors has one reader and one writer.
 *
 * ensures: a file is read whole only below a limit; weights appear under their name complete or not
 * at all; tensors go from file to file in parts, so a large safetensors file needs little memory.
 */
#include "import/im.h"

#include <stdio.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_safetensors.h"

struct ImStore {
    st_file file;
};

/* Takes over what the runtime says; its texts name the file themselves. */
static bool failed(Im *im, const rt_error *err) {
    if (!im->code) {
        im->code = err->code;
        snprintf(im->text, sizeof im->text, "%s", err->text);
    }
    return false;
}

const ImBytes *im_load(Im *im, const char *path, int64_t limit) {
    rt_error err = {0};
    unsigned char *data;
    size_t size;
    if (rt_io_read_file(path, limit, &data, &size, &err)) {
        failed(im, &err);
        return NULL;
    }
    ImBytes *bytes = ARENA_NEW(im->arena, ImBytes);
    *bytes = (ImBytes){.data = data, .size = size, .path = path, .next = im->held};
    im->held = bytes;
    return bytes;
}

void im_end(Im *im) {
    for (ImBytes *b = im->held; b; b = b->next)
        rt_free((void *)(uintptr_t)b->data);
    im->held = NULL;
    if (im->store)
        st_close(&im->store->file);
    im->store = NULL;
}

/* ---- reading safetensors ---- */
static const ImType type_of[] = {IM_F32, IM_F64, IM_F16, IM_BF16, IM_I8,  IM_I16, IM_I32,
                                 IM_I64, IM_U8,  IM_U16, IM_U32,  IM_U64, IM_BOOL};
_Static_assert(sizeof type_of / sizeof *type_of == ST_BOOL + 1, "one entry per st_dtype");

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* Data-parallel training puts "module." before every name. */
static size_t common_prefix(const st_file *file) {
    for (int i = 0; i < file->tensors; i++)
        if (strncmp(file->tensor[i].name, "module.", 7) != 0 || !file->tensor[i].name[7])
            return 0;
    return 7;
}

bool im_store_read(Im *im, ImOut *out) {
    rt_error err = {0};
    struct ImStore *store = ARENA_NEW(im->arena, struct ImStore);
    if (st_open(&store->file, im->options->path, 0, &err))
        return failed(im, &err);
    im->store = store;
    size_t prefix = common_prefix(&store->file);
    int skipped = 0;
    const char *first = NULL;
    for (int i = 0; i < store->file.tensors; i++) {
        const st_tensor *t = &store->file.tensor[i];
        ImTensor tensor = {.name = t->name,
                           .type = type_of[t->dtype],
                           .rank = t->rank,
                           .count = t->count,
                           .slot = i};
        if (ends_with(t->name, "num_batches_tracked"))
            continue;
        if (!im_type_is_float(tensor.type)) {
            first = first ? first : t->name;
            skipped++;
            continue;
        }
        for (int d = 0; d < t->rank; d++)
            tensor.dim[d] = t->dims[d];
        bool statistic = ends_with(t->name, "running_mean") || ends_with(t->name, "running_var");
        ImOutTensor one = {t->name + prefix, prefix ? t->name : NULL, tensor, statistic};
        vec_push(im->arena, &out->tensor, one);
    }
    if (skipped)
        im_note(im, "%d tensors of integers are left out, %s the first", skipped,
                im_clean(im, first, strlen(first)));
    for (int i = 0; i < store->file.metas; i++)
        if (strncmp(store->file.meta_key[i], "netc.", 5) != 0 &&
            strcmp(store->file.meta_key[i], "format") != 0)
            vec_push(im->arena, &out->meta,
                     ((struct ImMeta){store->file.meta_key[i], store->file.meta_value[i]}));
    return true;
}

/* ---- writing ---- */
enum { PART = 1 << 16 };

typedef struct Source {
    Im *im;
    const ImTensor *tensor;
    float *room; /* PART numbers, shared: used before the next call */
} Source;

static int64_t next_part(void *context, int64_t first, const void **data) {
    const Source *s = context;
    int64_t n = s->tensor->count - first < PART ? s->tensor->count - first : PART;
    *data = s->room;
    if (s->tensor->data) {
        for (int64_t i = 0; i < n; i++)
            s->room[i] = (float)im_tensor_at(s->tensor, first + i);
        return n;
    }
    const st_file *file = &s->im->store->file;
    rt_error err = {0};
    if (st_read_part(file, &file->tensor[s->tensor->slot], s->room, first, n, &err)) {
        failed(s->im, &err);
        return 0;
    }
    return n;
}

bool im_store_write(Im *im, const ImOut *out, const char *path) {
    rt_error err = {0};
    st_writer *writer;
    float *room = ARENA_ARRAY(im->arena, PART, float);
    if (st_writer_begin(&writer, &err))
        return failed(im, &err);
    for (int i = 0; i < out->tensor.len; i++) {
        const ImOutTensor *t = &out->tensor.data[i];
        if (t->tensor.data && t->tensor.type == IM_F32) {
            st_writer_add(writer, t->name, ST_F32, t->tensor.rank, t->tensor.dim, t->tensor.data,
                          &err);
            continue;
        }
        Source *source = ARENA_NEW(im->arena, Source);
        *source = (Source){im, &t->tensor, room};
        st_writer_add_source(writer, t->name, ST_F32, t->tensor.rank, t->tensor.dim, next_part,
                             source, &err);
    }
    for (int i = 0; i < out->meta.len; i++)
        st_writer_meta(writer, out->meta.data[i].key, out->meta.data[i].value, &err);
    if (st_writer_finish(writer, path, &err))
        return failed(im, &err);
    return true;
}
