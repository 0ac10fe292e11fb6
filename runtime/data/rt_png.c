/* rt_png.c: PNG through libpng: every colour type, depth and interlacing in; 8-bit grey or RGB out.
 *
 * requires: libpng 1.6.  ensures: user limits are set before the first byte is parsed, a header
 * that promises more pixels than its bytes can hold is refused before memory is taken, memory comes
 * from rt_alloc, all failures return (libpng's longjmp does not leave this file). Transparent
 * pixels are laid over white; 16-bit samples are rounded to 8.
 */
#include "rt_image.h"

#include "rt_alloc.h"
#include "rt_io.h"

#include <png.h>
#include <setjmp.h>
#include <string.h>

enum { MAX_CHUNKS = 256, MAX_CHUNK_BYTES = 8 << 20, DEFLATE_RATIO = 1032 };

/* Everything that must survive longjmp lives here, not in locals. */
struct png_job {
    png_structp png;
    png_infop info;
    const unsigned char *in; /* reading */
    size_t in_size, in_at;
    unsigned char *out; /* writing */
    size_t out_size, out_cap;
    unsigned char *raw; /* decoded pixels that still have an alpha channel */
    png_bytep *rows;
    rt_error memory; /* failures of rt_alloc inside libpng */
    char message[160];
    int indices; /* palette indices are wanted, not colours */
};

static void on_error(png_structp png, png_const_charp text) {
    struct png_job *job = png_get_error_ptr(png);
    strncpy(job->message, text, sizeof job->message - 1);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text) {
    (void)png;
    (void)text;
}

static png_voidp on_alloc(png_structp png, png_alloc_size_t size) {
    struct png_job *job = png_get_mem_ptr(png);
    return rt_alloc(size, 1, "PNG decoder", &job->memory);
}

static void on_free(png_structp png, png_voidp p) {
    (void)png;
    rt_free(p);
}

static void on_read(png_structp png, png_bytep dst, size_t n) {
    struct png_job *job = png_get_io_ptr(png);
    if (n > job->in_size - job->in_at)
        png_error(png, "the file is truncated");
    memcpy(dst, job->in + job->in_at, n);
    job->in_at += n;
}

/* Least number of raw bytes that stand behind the header (first bytes of rows left out). */
static int promises_too_much(struct png_job *job, int64_t width, int64_t height) {
    int64_t bits = png_get_bit_depth(job->png, job->info) * png_get_channels(job->png, job->info);
    return width * bits / 8 * height > (int64_t)job->in_size * DEFLATE_RATIO;
}

/* Asks libpng for 8-bit grey or RGB, with alpha where the file has it. */
static void set_transforms(struct png_job *job) {
    png_set_expand(job->png);
    png_set_scale_16(job->png);
    (void)png_set_interlace_handling(job->png);
    png_read_update_info(job->png, job->info);
}

/* c over white: c * a + 255 * (1 - a), rounded. */
static void flatten(const unsigned char *src, rt_image *img, int channels_with_alpha) {
    size_t n = (size_t)img->width * (size_t)img->height, in = (size_t)channels_with_alpha;
    unsigned char *dst = img->data;
    for (size_t i = 0; i < n; i++, src += in) {
        unsigned alpha = src[in - 1];
        for (size_t c = 0; c + 1 < in; c++)
            *dst++ = (unsigned char)((src[c] * alpha + 255u * (255u - alpha) + 127u) / 255u);
    }
}

/* The part that libpng may leave by longjmp; returns here only on success of every step or with the
 * code of a check of ours. */
static int decode_body(struct png_job *job, rt_image *img, const char *name, rt_error *err) {
    png_set_user_limits(job->png, RT_IMAGE_MAX_SIDE, RT_IMAGE_MAX_SIDE);
    png_set_chunk_cache_max(job->png, MAX_CHUNKS);
    png_set_chunk_malloc_max(job->png, MAX_CHUNK_BYTES);
    png_set_read_fn(job->png, job, on_read);
    png_read_info(job->png, job->info);
    int width = (int)png_get_image_width(job->png, job->info);
    int height = (int)png_get_image_height(job->png, job->info);
    if (promises_too_much(job, width, height))
        return rt_fail(err, NETRT_EDATA, "%s: %zu bytes cannot hold %d x %d pixels", name,
                       job->in_size, width, height);
    if (job->indices) {
        int type = png_get_color_type(job->png, job->info);
        int depth = png_get_bit_depth(job->png, job->info);
        if ((type != PNG_COLOR_TYPE_PALETTE && type != PNG_COLOR_TYPE_GRAY) || depth > 8)
            return rt_fail(err, NETRT_EDATA,
                           "%s: a label picture has a palette or grey values of 8 bits", name);
        png_set_packing(job->png);
        (void)png_set_interlace_handling(job->png);
        png_read_update_info(job->png, job->info);
    } else {
        set_transforms(job);
    }
    int channels = png_get_channels(job->png, job->info);
    int alpha = channels == 2 || channels == 4;
    int code = rt_image_reserve_for(img, width, height, alpha ? channels - 1 : channels, name, err);
    if (code == NETRT_OK && alpha) {
        size_t pixels = (size_t)width * (size_t)height;
        job->raw = rt_alloc(pixels, (size_t)channels, "picture with transparency", err);
        code = job->raw ? NETRT_OK : NETRT_ELIMIT;
    }
    if (code == NETRT_OK) {
        job->rows = rt_alloc((size_t)height, sizeof(png_bytep), "PNG rows", err);
        code = job->rows ? NETRT_OK : NETRT_ELIMIT;
    }
    if (code != NETRT_OK)
        return code;
    size_t stride = (size_t)width * (size_t)channels;
    if (png_get_rowbytes(job->png, job->info) != stride)
        return rt_fail(err, NETRT_EDATA, "%s: unsupported PNG pixel layout", name);
    for (int y = 0; y < height; y++)
        job->rows[y] = (alpha ? job->raw : img->data) + (size_t)y * stride;
    png_read_image(job->png, job->rows);
    png_read_end(job->png, job->info);
    if (alpha)
        flatten(job->raw, img, channels);
    png_bytep exif = NULL;
    png_uint_32 exif_size = 0;
    if (png_get_eXIf_1(job->png, job->info, &exif_size, &exif) && exif)
        return rt_image_orient(img, rt_exif_orientation(exif, exif_size), err);
    return NETRT_OK;
}

static int decode(rt_image *img, const unsigned char *data, size_t size, const char *name,
                  int indices, rt_error *err) {
    struct png_job job = {.in = data, .in_size = size, .indices = indices};
    struct png_job *volatile at = &job;
    volatile int code;
    job.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &job, on_error, on_warning, &job,
                                       on_alloc, on_free);
    if (job.png)
        job.info = png_create_info_struct(job.png);
    if (!job.info)
        code = rt_fail(err, NETRT_ELIMIT, "out of memory: PNG decoder");
    else if (setjmp(png_jmpbuf(job.png)) == 0)
        code = decode_body(at, img, name, err);
    else if (at->memory.code != NETRT_OK)
        code = rt_fail(err, at->memory.code, "%s: %s", name, at->memory.text);
    else
        code = rt_fail(err, NETRT_EDATA, "%s: %s", name, at->message);
    png_destroy_read_struct(&at->png, &at->info, NULL);
    rt_free(at->rows);
    rt_free(at->raw);
    return code;
}

int rt_png_decode(rt_image *img, const unsigned char *data, size_t size, const char *name,
                  rt_error *err) {
    return decode(img, data, size, name, 0, err);
}

int rt_png_decode_indices(rt_image *img, const unsigned char *data, size_t size, const char *name,
                          rt_error *err) {
    return decode(img, data, size, name, 1, err);
}

/* --- writing -----------------------------------------------------------------------------------
 */

static void on_write(png_structp png, png_bytep src, size_t n) {
    struct png_job *job = png_get_io_ptr(png);
    if (n > job->out_cap - job->out_size) {
        size_t cap = job->out_cap * 2 + n;
        unsigned char *bigger = rt_realloc(job->out, cap, 1, "PNG file", &job->memory);
        if (!bigger)
            png_error(png, "out of memory");
        job->out = bigger;
        job->out_cap = cap;
    }
    memcpy(job->out + job->out_size, src, n);
    job->out_size += n;
}

static void on_flush(png_structp png) {
    (void)png;
}

static void encode_body(struct png_job *job, const rt_image *img) {
    png_set_write_fn(job->png, job, on_write, on_flush);
    png_set_IHDR(job->png, job->info, (png_uint_32)img->width, (png_uint_32)img->height, 8,
                 img->channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    /* Fixed choices, no time and no text chunks: same pixels, same bytes. */
    png_set_compression_level(job->png, 6);
    png_set_compression_mem_level(job->png, 8);
    png_set_filter(job->png, PNG_FILTER_TYPE_BASE, PNG_ALL_FILTERS);
    png_write_info(job->png, job->info);
    size_t stride = (size_t)img->width * (size_t)img->channels;
    for (int y = 0; y < img->height; y++)
        png_write_row(job->png, img->data + (size_t)y * stride);
    png_write_end(job->png, NULL);
}

int rt_png_encode(const rt_image *img, unsigned char **out, size_t *size, rt_error *err) {
    *out = NULL;
    *size = 0;
    if (img->channels != 1 && img->channels != 3)
        return rt_fail(err, NETRT_EBUG, "PNG of %d channels", img->channels);
    struct png_job job = {.out_cap = 0};
    struct png_job *volatile at = &job;
    volatile int code = NETRT_OK;
    job.png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &job, on_error, on_warning, &job,
                                        on_alloc, on_free);
    if (job.png)
        job.info = png_create_info_struct(job.png);
    if (!job.info)
        code = rt_fail(err, NETRT_ELIMIT, "out of memory: PNG encoder");
    else if (setjmp(png_jmpbuf(job.png)) == 0)
        encode_body(at, img);
    else
        code = rt_fail(err, NETRT_ELIMIT, "PNG encoder: %s",
                       at->memory.code ? at->memory.text : at->message);
    png_destroy_write_struct(&at->png, &at->info);
    if (code != NETRT_OK) {
        rt_free(at->out);
        return code;
    }
    *out = at->out;
    *size = at->out_size;
    return NETRT_OK;
}

int rt_png_write(const rt_image *img, const char *path, rt_error *err) {
    unsigned char *bytes;
    size_t size;
    int code = rt_png_encode(img, &bytes, &size, err);
    if (code == NETRT_OK)
        code = rt_io_write_file(path, bytes, size, err);
    rt_free(bytes);
    return code;
}
