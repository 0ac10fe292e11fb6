/* wire.c: protobuf's wire format (wire.h).
 *
 * requires: nothing of the bytes.  ensures: data and size of a field lie inside the message; a
 * varint has at most ten bytes; field number 0 and unknown wire types are malformed.
 */
#include "import/wire.h"

#include <string.h>

Wire wire_of(const unsigned char *data, size_t size) {
    return (Wire){.at = data, .end = data ? data + size : data};
}

static bool bad(Wire *w) {
    w->bad = true;
    w->at = w->end;
    return false;
}

bool wire_varint(Wire *w, uint64_t *value) {
    uint64_t v = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        if (w->at == w->end)
            return bad(w);
        unsigned char byte = *w->at++;
        if (shift == 63 && byte > 1)
            return bad(w); /* more than 64 bits */
        v |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            *value = v;
            return true;
        }
    }
    return bad(w);
}

static bool take(Wire *w, WireField *f, size_t size) {
    if ((size_t)(w->end - w->at) < size)
        return bad(w);
    f->data = w->at;
    f->size = size;
    w->at += size;
    return true;
}

bool wire_next(Wire *w, WireField *f) {
    uint64_t key, length;
    if (w->bad || w->at == w->end || !wire_varint(w, &key))
        return false;
    *f = (WireField){.type = (int)(key & 7)};
    if (key >> 3 == 0 || key >> 3 > 0x1fffffff)
        return bad(w);
    f->number = (uint32_t)(key >> 3);
    switch (f->type) {
    case WIRE_VARINT:
        return wire_varint(w, &f->value);
    case WIRE_BYTES:
        if (!wire_varint(w, &length) || length > (uint64_t)(w->end - w->at))
            return bad(w);
        return take(w, f, (size_t)length);
    case WIRE_64:
    case WIRE_32:
        if (!take(w, f, f->type == WIRE_64 ? 8 : 4))
            return false;
        memcpy(&f->value, f->data, f->size); /* the low bytes: little-endian machines only */
        return true;
    default:
        return bad(w);
    }
}

float wire_float(const WireField *f) {
    uint32_t bits = (uint32_t)f->value;
    float x;
    memcpy(&x, &bits, sizeof x);
    return f->type == WIRE_32 ? x : 0;
}

int64_t wire_int(const WireField *f) {
    int64_t v;
    memcpy(&v, &f->value, sizeof v);
    return f->type == WIRE_VARINT ? v : 0;
}

int64_t wire_count(const WireField *f, int size) {
    if (f->type != WIRE_BYTES)
        return f->type == (size == 0 ? WIRE_VARINT : size == 4 ? WIRE_32 : WIRE_64) ? 1 : -1;
    if (size)
        return f->size % (size_t)size ? -1 : (int64_t)(f->size / (size_t)size);
    int64_t n = 0;
    for (size_t i = 0; i < f->size; i++)
        n += f->data[i] < 128; /* one last byte each */
    return f->size && f->data[f->size - 1] >= 128 ? -1 : n;
}
