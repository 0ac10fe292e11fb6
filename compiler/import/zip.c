/* zip.c: the archives that numpy's savez writes: stored or deflated members, perhaps zip64.
 *
 * requires: nothing of the bytes.  ensures: every member lies inside the file; memory for an
 * inflated one is taken only when its size can come from so many compressed bytes (deflate shrinks
 * at most 1032 times); its checksum is right.  PyTorch's and Keras's archives are recognised and
 * refused. Source: PKWARE's APPNOTE 6.3, sections 4.3 and 4.5.3; RFC 1951.
 */
#include <string.h>
#include <zlib.h>

#include "import/im.h"

enum { EOCD = 22, CENTRAL = 46, LOCAL = 30, RATIO = 1032, MAX_MEMBERS = 100000 };

typedef struct Member {
    const char *name; /* in the file, not terminated */
    size_t name_length;
    unsigned method, flags;
    uint32_t crc;
    uint64_t packed, size, at;
} Member;

static uint64_t little(const unsigned char *p, int bytes) {
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static bool malformed(Im *im, const char *what) {
    return im_fail(im, NETC_DATA, "the archive is cut short or malformed: %s", what);
}

/* The end record lies in the last 64 KiB: first of all, members and where their list begins. */
static bool find_list(Im *im, const ImBytes *f, uint64_t *members, uint64_t *at) {
    size_t least = f->size > 65557 ? f->size - 65557 : 0;
    if (f->size < EOCD)
        return malformed(im, "no list of members");
    for (size_t i = f->size - EOCD + 1; i-- > least;) {
        const unsigned char *p = f->data + i;
        if (memcmp(p, "PK\5\6", 4) != 0)
            continue;
        *members = little(p + 10, 2);
        *at = little(p + 16, 4);
        if (*members == 0xffff || *at == 0xffffffff) { /* zip64 */
            uint64_t far =
                i >= 20 && memcmp(p - 20, "PK\6\7", 4) == 0 ? little(p - 12, 8) : f->size;
            if (far > f->size || f->size - far < 56 || memcmp(f->data + far, "PK\6\6", 4) != 0)
                return malformed(im, "no zip64 record");
            *members = little(f->data + far + 32, 8);
            *at = little(f->data + far + 48, 8);
        }
        return true;
    }
    return malformed(im, "no list of members");
}

/* Sizes that do not fit 32 bits stand in extra field 1, in this order. */
static void wide_sizes(const unsigned char *extra, size_t length, Member *m) {
    for (size_t i = 0; i + 4 <= length;) {
        size_t n = (size_t)little(extra + i + 2, 2);
        const unsigned char *p = extra + i + 4;
        if (n > length - i - 4)
            return;
        if (little(extra + i, 2) == 1) {
            uint64_t *wanted[3] = {&m->size, &m->packed, &m->at};
            for (int k = 0; k < 3; k++)
                if (*wanted[k] == 0xffffffff && n >= 8) {
                    *wanted[k] = little(p, 8);
                    p += 8;
                    n -= 8;
                }
            return;
        }
        i += 4 + n;
    }
}

/* Reads the list's entry at *at and steps over it. */
static bool next_member(Im *im, const ImBytes *f, uint64_t *at, Member *m) {
    const unsigned char *p = f->data + *at;
    if (*at > f->size || f->size - *at < CENTRAL || memcmp(p, "PK\1\2", 4) != 0)
        return malformed(im, "its list of members ends early");
    size_t name = (size_t)little(p + 28, 2), extra = (size_t)little(p + 30, 2);
    size_t all = CENTRAL + name + extra + (size_t)little(p + 32, 2);
    if (all > f->size - *at)
        return malformed(im, "its list of members ends early");
    *m = (Member){.name = (const char *)p + CENTRAL,
                  .name_length = name,
                  .flags = (unsigned)little(p + 8, 2),
                  .method = (unsigned)little(p + 10, 2),
                  .crc = (uint32_t)little(p + 16, 4),
                  .packed = little(p + 20, 4),
                  .size = little(p + 24, 4),
                  .at = little(p + 42, 4)};
    wide_sizes(p + CENTRAL + name, extra, m);
    *at += all;
    return true;
}

static bool inflate_into(Im *im, const unsigned char *from, uint64_t n, unsigned char *to,
                         uint64_t size) {
    z_stream z = {0};
    if (inflateInit2(&z, -MAX_WBITS) != Z_OK)
        return im_fail(im, NETC_LIMIT, "out of memory");
    int status = Z_OK;
    uint64_t in = 0, out = 0;
    while (status == Z_OK) {
        uint64_t feed = n - in < 1u << 30 ? n - in : 1u << 30;
        uint64_t room = size - out < 1u << 30 ? size - out : 1u << 30;
        z.next_in = (unsigned char *)(uintptr_t)(from + in);
        z.avail_in = (unsigned)feed;
        z.next_out = to + out;
        z.avail_out = (unsigned)room;
        status = inflate(&z, Z_NO_FLUSH);
        in += feed - z.avail_in;
        out += room - z.avail_out;
        if (status == Z_OK && feed == z.avail_in && room == z.avail_out)
            status = Z_DATA_ERROR; /* no progress */
    }
    inflateEnd(&z);
    return (status == Z_STREAM_END && out == size) || malformed(im, "a member does not unpack");
}

/* The member's bytes, checked. */
static const unsigned char *contents(Im *im, const ImBytes *f, const Member *m) {
    const unsigned char *p = f->data + m->at, *data;
    if (m->at > f->size || f->size - m->at < LOCAL || memcmp(p, "PK\3\4", 4) != 0)
        return malformed(im, "a member is not where the list says"), NULL;
    size_t head = LOCAL + (size_t)little(p + 26, 2) + (size_t)little(p + 28, 2);
    uint64_t left = f->size - m->at;
    if (head > left || m->packed > left - head)
        return malformed(im, "a member is cut short"), NULL;
    if (m->flags & 1)
        return im_fail(im, NETC_DATA, "the archive is encrypted"), NULL;
    data = p + head;
    if (m->method == 0 && m->size != m->packed)
        return malformed(im, "a stored member has two sizes"), NULL;
    if (m->method != 0 && m->method != 8)
        return im_fail(im, NETC_DATA, "compression method %u is not read", m->method), NULL;
    if (m->method == 8) {
        if (m->size > (uint64_t)IM_MAX_FILE || m->size / RATIO > m->packed)
            return malformed(im, "a member claims an impossible size"), NULL;
        unsigned char *room = arena_alloc(im->arena, (size_t)m->size);
        if (!inflate_into(im, data, m->packed, room, m->size))
            return NULL;
        data = room;
    }
    if (crc32_z(0, data, (size_t)m->size) != m->crc)
        return malformed(im, "a checksum is wrong"), NULL;
    return data;
}

static bool name_ends(const Member *m, const char *end) {
    size_t n = strlen(end);
    return m->name_length >= n && memcmp(m->name + m->name_length - n, end, n) == 0;
}

static bool refuse_other(Im *im, const Member *m) {
    if (name_ends(m, "data.pkl")) {
        im_fail(im, NETC_DATA,
                "this is a PyTorch archive; it holds a pickle, and reading one runs "
                "its code");
        im_help(im, "in Python: safetensors.torch.save_file(torch.load(F, weights_only=True), "
                    "\"w.safetensors\"), or torch.onnx.export for the network too");
        return false;
    }
    if (name_ends(m, ".h5")) {
        im_fail(im, NETC_DATA, "this is a Keras archive; it holds an HDF5 file");
        im_help(im, "convert the model with tf2onnx, or write its arrays with numpy.savez");
        return false;
    }
    return true;
}

bool im_read_npz(Im *im, const ImBytes *file, ImOut *out) {
    uint64_t members = 0, at = 0, total = 0;
    if (!find_list(im, file, &members, &at))
        return false;
    if (members > MAX_MEMBERS)
        return im_fail(im, NETC_LIMIT, "more than %d members", MAX_MEMBERS);
    for (uint64_t i = 0; i < members; i++) {
        Member m;
        if (!next_member(im, file, &at, &m) || !refuse_other(im, &m))
            return false;
        if (!name_ends(&m, ".npy") || m.name_length <= 4)
            continue;
        if (__builtin_add_overflow(total, m.size, &total) || total > 2 * (uint64_t)IM_MAX_FILE)
            return im_fail(im, NETC_LIMIT, "the arrays are too large");
        const unsigned char *data = contents(im, file, &m);
        if (!data ||
            !im_read_npy(im, im_clean(im, m.name, m.name_length - 4), data, (size_t)m.size, out))
            return false;
    }
    return true;
}
