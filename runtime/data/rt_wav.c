/* rt_wav.c: sound files as pictures of their spectrum: [1, bands, frames].
 *
 * A recording is cut into windows (Hann) of `window` samples every `hop` samples; the power of each
 * is gathered by `bands` triangles equally wide on the mel scale (scale=linear: in Hz) from `low`
 * Hz (0) to `high` Hz (half the sampling rate); a value is ln(power + 1e-6).  bands and frames are
 * the height and width of the net's input: a recording with more frames loses as many at both ends,
 * one with fewer gets silence there.  For a sequence, f32[bands, frames], the bands are channels.
 * Classes: sub-folders, or else what stands before the first '_' of the name.
 * ensures: sizes of chunks are checked against the file; a broken file is an error of its sample.
 * Source: Davis and Mermelstein 1980 (bands), O'Shaughnessy 1987 (2595 log10(1 + f / 700)).
 */
#define _GNU_SOURCE
#include "rt_reals.h"

#include "rt_alloc.h"
#include "rt_io.h"

#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_WINDOW = 8192, MAX_WAV = 1 << 28, MAX_FILES = 10000000, BAND_ROWS = 40, FRAMES = 64 };

struct wav {
    char **file; /* paths */
    char **said; /* class of each, or NULL where there is none */
    int64_t n, cap;
    int *label;
    int window, hop, asked; /* asked: the source's name tells something */
    int linear, low, high;  /* scale of the bands; Hz, high 0: half the sampling rate */
};

/* ---- recordings ---- */

struct sound {
    const unsigned char *data;
    int64_t n; /* samples of each channel */
    int channels, bytes, real, rate;
};

static uint32_t le(const unsigned char *p, int n) {
    uint32_t v = 0;
    for (int i = n - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static int wav_parse(const unsigned char *d, size_t size, const char *name, struct sound *s,
                     rt_error *err) {
    size_t at = 12;
    *s = (struct sound){0};
    if (size < 12 || memcmp(d, "RIFF", 4) != 0 || memcmp(d + 8, "WAVE", 4) != 0)
        return rt_fail(err, NETRT_EDATA, "%s is no WAV file", name);
    while (size - at >= 8) {
        size_t len = le(d + at + 4, 4), have = size - at - 8;
        const unsigned char *p = d + at + 8;
        if (memcmp(d + at, "fmt ", 4) == 0 && len >= 16 && have >= 16) {
            uint32_t format = le(p, 2), bits = le(p + 14, 2), rate = le(p + 4, 4);
            if (format == 0xFFFE && len >= 26 && have >= 26) /* extensible: the kind is in its id */
                format = le(p + 24, 2);
            s->channels = (int)le(p + 2, 2);
            s->bytes = (int)bits / 8;
            s->real = format == 3;
            s->rate = rate < 1000000 ? (int)rate : 0;
            if (bits % 8 || (format != 1 && format != 3) || s->bytes < 1 || s->bytes > 4 ||
                (s->real && s->bytes != 4) || s->channels < 1 || s->channels > 64 || s->rate < 1)
                return rt_fail(err, NETRT_EDATA,
                               "%s: %d channels, %u bits, format %u: PCM of 8 to 32 bits and "
                               "32-bit floats are read",
                               name, s->channels, bits, format);
        } else if (memcmp(d + at, "data", 4) == 0) {
            if (!s->channels)
                return rt_fail(err, NETRT_EDATA, "%s: its data come before their format", name);
            if (len > have && len != UINT32_MAX) /* streamed files do not know their length */
                return rt_fail(err, NETRT_EDATA, "%s is truncated: %zu of %zu bytes of sound", name,
                               have, len);
            s->data = p;
            s->n = (int64_t)((len < have ? len : have) / (size_t)(s->bytes * s->channels));
            return s->n > 0 ? NETRT_OK : rt_fail(err, NETRT_EDATA, "%s holds no sound", name);
        }
        if (len > have)
            break;
        at += 8 + len + (len & 1);
        if (at > size)
            break;
    }
    return rt_fail(err, NETRT_EDATA, "%s holds no sound", name);
}

/* The mean of the channels at time t, -1 .. 1. */
static double sample_at(const struct sound *s, int64_t t) {
    double sum = 0;
    for (int c = 0; c < s->channels; c++) {
        const unsigned char *p = s->data + (t * s->channels + c) * s->bytes;
        if (s->real) {
            uint32_t bits = le(p, 4);
            float x;
            memcpy(&x, &bits, sizeof x);
            sum += isfinite(x) ? (double)x : 0;
        } else if (s->bytes == 1)
            sum += ((double)*p - 128) / 128; /* 8 bits have no sign */
        else
            sum += (double)(int32_t)(le(p, s->bytes) << (32 - 8 * s->bytes)) * 0x1p-31;
    }
    return sum / s->channels;
}

/* ---- spectrum ---- */

struct spectrum {
    int n, bands;    /* points of the transform, a power of two */
    double *re, *im; /* n */
    double *cosine;  /* n: of 2 pi k / n */
    double *hann;    /* window */
    double *place;   /* n / 2 + 1: where a frequency lies among the centres of the bands */
    double *power;   /* bands */
};

static double on_scale(const struct wav *x, double hz) {
    return x->linear ? hz : log10(1 + hz / 700);
}

static int spectrum_open(struct spectrum *s, const struct wav *x, int bands, rt_error *err,
                         int rate) {
    int window = x->window;
    const double turn = 6.283185307179586;
    s->n = 2;
    while (s->n < window)
        s->n *= 2;
    s->bands = bands;
    int64_t all = 4 * (int64_t)s->n + window + bands + 1;
    double *p = rt_alloc_zero((size_t)all, sizeof *p, "spectrum", err);
    if (!p)
        return err->code;
    s->re = p;
    s->im = p + s->n;
    s->cosine = s->im + s->n;
    s->place = s->cosine + s->n;
    s->hann = s->place + s->n / 2 + 1;
    s->power = s->hann + window;
    double highest = x->high > 0 && 2.0 * x->high < rate ? x->high : rate / 2.0;
    double from = on_scale(x, x->low), top = on_scale(x, highest) - from;
    if (!(top > 0)) {
        rt_free(p);
        s->re = NULL;
        return rt_fail(err, NETRT_EDATA, "%d samples a second: nothing above %d Hz", rate, x->low);
    }
    for (int k = 0; k < s->n; k++)
        s->cosine[k] = cos(turn * k / s->n);
    for (int k = 0; k < window; k++)
        s->hann[k] = 0.5 - 0.5 * cos(turn * (k + 0.5) / window);
    for (int k = 0; k <= s->n / 2; k++)
        s->place[k] = (on_scale(x, (double)k * rate / s->n) - from) / top * (bands + 1) - 1;
    return NETRT_OK;
}

/* In place, decimation in time. */
static void transform(struct spectrum *s) {
    int n = s->n;
    for (int i = 1, j = 0; i < n; i++) {
        int bit = n >> 1;
        for (; j & bit; bit >>= 1)
            j ^= bit;
        j ^= bit;
        if (i < j) {
            double t = s->re[i];
            s->re[i] = s->re[j];
            s->re[j] = t;
        }
    }
    for (int half = 1; half < n; half *= 2)
        for (int k = 0; k < half; k++) {
            int at = k * (n / 2 / half);
            double c = s->cosine[at], d = -s->cosine[(at + 3 * n / 4) % n]; /* -sin */
            for (int i = k; i < n; i += 2 * half) {
                double re = s->re[i + half] * c - s->im[i + half] * d;
                double im = s->re[i + half] * d + s->im[i + half] * c;
                s->re[i + half] = s->re[i] - re;
                s->im[i + half] = s->im[i] - im;
                s->re[i] += re;
                s->im[i] += im;
            }
        }
}

/* Powers of the bands of the window that begins at sample t. */
static void bands_at(struct spectrum *s, const struct sound *in, int64_t t, int window) {
    memset(s->im, 0, (size_t)s->n * sizeof *s->im);
    memset(s->power, 0, (size_t)s->bands * sizeof *s->power);
    for (int k = 0; k < s->n; k++)
        s->re[k] =
            k < window && t + k >= 0 && t + k < in->n ? sample_at(in, t + k) * s->hann[k] : 0;
    transform(s);
    for (int k = 0; k <= s->n / 2; k++) {
        double p = (s->re[k] * s->re[k] + s->im[k] * s->im[k]) / s->n, at = floor(s->place[k]);
        int low = (int)at;
        double share = s->place[k] - at;
        if (low >= 0 && low < s->bands)
            s->power[low] += p * (1 - share);
        if (low + 1 >= 0 && low + 1 < s->bands)
            s->power[low + 1] += p * share;
    }
}

/* Where frame number `at` begins in a recording that sounds `late` samples later; 0: silence.  A
 * frame of the recording moved keeps what it has of it. */
static int moved(const struct sound *in, const struct wav *x, int64_t at, int64_t frames,
                 int64_t late, int64_t *begin) {
    *begin = at * x->hop - late;
    if (late == 0)
        return at >= 0 && at < frames;
    return *begin > -(int64_t)x->window && *begin < in->n;
}

static int wav_sound(const rt_dataset *ds, int64_t i, int c, int h, int w, double seconds,
                     double gain, float *chw, rt_error *err) {
    const struct wav *x = ds->state;
    unsigned char *data = NULL;
    size_t size;
    struct sound in;
    struct spectrum s = {0};
    char name[512];
    if (c != 1 && h != 1)
        return rt_fail(err, NETRT_EBUG, "a spectrum of %d planes", c);
    h *= c; /* a sequence has its bands as channels: the same numbers in the same order */
    if (rt_io_read_file(x->file[i], MAX_WAV, &data, &size, err))
        return err->code;
    rt_clean_name(name, sizeof name, x->file[i]);
    if (wav_parse(data, size, name, &in, err) == NETRT_OK &&
        spectrum_open(&s, x, h, err, in.rate) == NETRT_OK) {
        int64_t frames = in.n <= x->window ? 1 : 1 + (in.n - x->window) / x->hop;
        int64_t first = frames >= w ? (frames - w) / 2 : -((w - frames) / 2), t;
        double power = gain * gain;
        int64_t late = llround(seconds * in.rate);
        for (int f = 0; f < w; f++) {
            int64_t at = first + f;
            int there = moved(&in, x, at, frames, late, &t);
            if (there)
                bands_at(&s, &in, t, x->window);
            for (int b = 0; b < h; b++)
                chw[(int64_t)b * w + f] =
                    there ? (float)log(s.power[b] * power + 1e-6) : ds->outside;
        }
        rt_free(s.re);
    }
    rt_free(data);
    return err->code;
}

static int wav_values(const rt_dataset *ds, int64_t i, int c, int h, int w, float *chw,
                      rt_error *err) {
    return wav_sound(ds, i, c, h, w, 0, 1, chw, err);
}

/* ---- the source ---- */

static int key_int(const char *uri, const char *key, int lo, int hi, int *out, rt_error *err) {
    char text[16], *end;
    if (!rt_data_key(uri, key, text, sizeof text))
        return 0;
    long v = strtol(text, &end, 10);
    if (end == text || *end || v < lo || v > hi)
        rt_fail(err, NETRT_EUSAGE, "%s = %s: a number from %d to %d", key, text, lo, hi);
    else
        *out = (int)v;
    return 1;
}

static int read_keys(struct wav *x, const char *uri, rt_error *err) {
    int window = key_int(uri, "window", 16, MAX_WINDOW, &x->window, err);
    int hop = key_int(uri, "hop", 1, 65536, &x->hop, err);
    if (window && !hop)
        x->hop = x->window / 2;
    char scale[16] = "";
    int low = key_int(uri, "low", 0, 500000, &x->low, err);
    int high = key_int(uri, "high", 1, 500000, &x->high, err);
    if (rt_data_key(uri, "scale", scale, sizeof scale)) {
        x->linear = strcmp(scale, "linear") == 0;
        if (!x->linear && strcmp(scale, "mel") != 0)
            rt_fail(err, NETRT_EUSAGE, "scale = %s: mel or linear", scale);
    }
    if (high && x->high <= x->low)
        rt_fail(err, NETRT_EUSAGE, "bands from %d to %d Hz", x->low, x->high);
    x->asked = window || hop || low || high || scale[0];
    return err->code;
}

static int wav_fit(rt_dataset *ds, int c, int h, int w, const char *spec_uri, rt_error *err) {
    struct wav *x = ds->state;
    if (c != 1 && h != 1)
        return rt_fail(err, NETRT_EDATA,
                       "%s: a spectrum has one channel, the net's input is %d x %d x %d\n"
                       "help: declare the input as f32[1, bands, frames], for example "
                       "f32[1, 40, 64], or as a sequence f32[bands, frames]",
                       ds->uri, c, h, w);
    ds->channels = c;
    ds->height = h;
    ds->width = w;
    return x->asked ? NETRT_OK : read_keys(x, spec_uri, err);
}

static int wav_label(const rt_dataset *ds, int64_t i) {
    const struct wav *x = ds->state;
    return x->label ? x->label[i] : -1;
}

static const char *wav_name(const rt_dataset *ds, int64_t i, char *buf, size_t cap) {
    const struct wav *x = ds->state;
    const char *slash = strrchr(x->file[i], '/');
    return rt_clean_name(buf, cap, slash ? slash + 1 : x->file[i]);
}

static void files_free(struct wav *x) {
    for (int64_t i = 0; i < x->n; i++) {
        rt_free(x->file[i]);
        rt_free(x->said[i]);
    }
    rt_free(x->file);
    rt_free(x->said);
    rt_free(x->label);
    rt_free(x);
}

static void wav_close(rt_dataset *ds) {
    files_free(ds->state);
}

static const struct rt_data_ops wav_ops = {"wav",    wav_label, rt_real_item,
                                           wav_name, wav_close, NULL};
static const struct rt_real_ops wav_real = {wav_values, wav_fit, wav_sound};

/* Takes over both texts. */
static int add(struct wav *x, char *file, char *said, rt_error *err) {
    if (x->n == x->cap && !err->code) {
        int64_t cap = x->cap ? 2 * x->cap : 64;
        char **a = rt_realloc(x->file, (size_t)cap, sizeof *a, "file list", err);
        x->file = a ? a : x->file;
        char **b = a ? rt_realloc(x->said, (size_t)cap, sizeof *b, "file list", err) : NULL;
        x->said = b ? b : x->said;
        x->cap = b ? cap : x->cap;
    }
    if (x->n >= MAX_FILES)
        rt_fail(err, NETRT_ELIMIT, "more than %d files", MAX_FILES);
    if (err->code) {
        rt_free(file);
        rt_free(said);
        return err->code;
    }
    x->file[x->n] = file;
    x->said[x->n++] = said;
    return NETRT_OK;
}

static int is_wav(const char *name) {
    size_t n = strlen(name);
    return name[0] != '.' && n > 4 && strcasecmp(name + n - 4, ".wav") == 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int visible(const struct dirent *e) {
    return e->d_name[0] != '.';
}

/* The files of dir in byte order; class_name: NULL takes it from each name.  depth 1: where dir has
 * no sound itself, its sub-folders are the classes. */
static int list(struct wav *x, const char *dir, const char *class_name, int depth, rt_error *err) {
    struct dirent **e;
    char path[PATH_MAX];
    int64_t before = x->n, direct = 0;
    int n = scandir(dir, &e, visible, by_bytes);
    for (int pass = 0; pass <= depth; pass++) {
        direct = x->n - before;
        for (int i = 0; i < n && !err->code; i++) {
            const char *name = e[i]->d_name;
            size_t prefix = strcspn(name, "_");
            if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
                continue;
            if (pass == 1 && direct == 0 && e[i]->d_type != DT_REG)
                list(x, path, name, 0, err);
            if (pass == 0 && is_wav(name)) {
                char *said = class_name     ? rt_strdup(class_name, err)
                             : name[prefix] ? rt_strndup(name, prefix, err)
                                            : NULL;
                char *file = err->code ? NULL : rt_strdup(path, err);
                add(x, file, said, err);
            }
        }
    }
    for (int i = 0; i < n; i++)
        free(e[i]);
    if (n >= 0)
        free(e);
    return err->code;
}

static struct wav *new_wav(rt_error *err) {
    struct wav *x = rt_alloc_zero(1, sizeof *x, "file list", err);
    if (x) {
        x->window = 256;
        x->hop = 128;
    }
    return x;
}

/* All files say a class, or the source has no labels. */
static int number(rt_dataset *ds, struct wav *x, const char *dir, const rt_dataset *known,
                  rt_error *err) {
    for (int64_t i = 0; i < x->n; i++)
        if (!x->said[i])
            return NETRT_OK;
    x->label = rt_alloc_zero((size_t)x->n, sizeof *x->label, "labels", err);
    return x->label
               ? rt_reals_list_classes(ds, dir, (const char *const *)x->said, x->label, known, err)
               : err->code;
}

/* A source of recordings, none yet; NULL: no memory. */
static struct wav *become_sound(rt_dataset *ds, rt_error *err) {
    struct wav *x = new_wav(err);
    if (!x)
        return NULL;
    ds->state = x;
    ds->ops = &wav_ops;
    ds->real = &wav_real;
    ds->outside = (float)log(1e-6);
    ds->channels = 1; /* until a net says otherwise */
    ds->height = BAND_ROWS;
    ds->width = FRAMES;
    return x;
}

static int fill(rt_dataset *ds, const char *dir, const char *uri, const rt_dataset *known,
                rt_error *err) {
    struct wav *x = become_sound(ds, err);
    if (!x)
        return err->code;
    if (list(x, dir, NULL, 1, err) == NETRT_OK && read_keys(x, uri, err) == NETRT_OK) {
        ds->count = x->n;
        if (x->n > 0)
            number(ds, x, dir, known, err);
    }
    return err->code;
}

/* Does dir, or the first folders in it, hold sound? */
static int any_sound(const char *dir, int depth) {
    char path[PATH_MAX];
    DIR *d = opendir(dir);
    struct dirent *e;
    int found = 0, tried = 0;
    while (d && !found && (e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        found = is_wav(e->d_name);
        if (!found && depth > 0 && tried < 4 && e->d_type != DT_REG &&
            snprintf(path, sizeof path, "%s/%s", dir, e->d_name) < (int)sizeof path) {
            found = any_sound(path, depth - 1);
            tried++;
        }
    }
    if (d)
        closedir(d);
    return found;
}

int rt_wav_open_dir(rt_dataset *ds, const char *dir, const char *split, const char *uri, int *found,
                    rt_error *err) {
    static const char *const tests[] = {"test", "val", "valid", "validation"};
    char train[PATH_MAX], test[PATH_MAX];
    int parts = 0, second = strcmp(split, "train") != 0;
    *found = strlen(dir) < PATH_MAX - 16 && any_sound(dir, 2);
    if (!*found)
        return NETRT_OK;
    snprintf(train, sizeof train, "%.4000s/train", dir);
    for (int k = 0; k < 4 && !parts; k++) {
        snprintf(test, sizeof test, "%.4000s/%s", dir, tests[k]);
        parts = any_sound(train, 1) && any_sound(test, 1);
    }
    if (!parts && strcmp(split, "test") == 0)
        return rt_fail(err, NETRT_EDATA,
                       "%s has no separate test part: expected %s/train and %s/test, or hold = "
                       "\"*_theo_*\" in the spec",
                       dir, dir, dir);
    if (!parts || !second)
        return fill(ds, parts ? train : dir, uri, NULL, err);
    rt_dataset *known = rt_alloc_zero(1, sizeof *known, "data set", err);
    if (known && fill(known, train, uri, NULL, err) == NETRT_OK)
        fill(ds, test, uri, known, err);
    rt_data_close(known);
    return err->code;
}

int rt_wav_sniff(const char *path) {
    unsigned char p[12];
    return rt_io_head(path, p, sizeof p) == sizeof p && memcmp(p, "RIFF", 4) == 0 && memcmp(p + 8, "WAVE", 4) == 0;
}

int rt_wav_open_file(rt_dataset *ds, const char *path, const char *uri, rt_error *err) {
    struct wav *x = become_sound(ds, err);
    if (!x)
        return err->code;
    char *file = rt_strdup(path, err);
    if (add(x, file, NULL, err) == NETRT_OK && read_keys(x, uri, err) == NETRT_OK)
        ds->count = 1;
    return err->code;
}
