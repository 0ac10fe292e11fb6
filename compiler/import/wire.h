/* wire.h: the protobuf wire format: varints, 32 and 64 bits, lengths.  No allocation, no recursion.
 *
 *     Wire w = wire_of(data, size);
 *     WireField f;
 *     while (wire_next(&w, &f)) switch (f.number) { ... }
 *     if (w.bad) malformed;
 *
 * Source: the encoding document of Protocol Buffers.  Groups (wire types 3 and 4) count as
 * malformed: neither Caffe nor ONNX uses them.
 */
#ifndef IMPORT_WIRE_H
#define IMPORT_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

typedef struct Wire {
    const unsigned char *at, *end;
    bool bad;
} Wire;

typedef struct WireField {
    uint32_t number;
    int type;
    uint64_t value;            /* varint; bits of a 32- or 64-bit number */
    const unsigned char *data; /* WIRE_BYTES, and where a 32- or 64-bit number lies */
    size_t size;
} WireField;

Wire wire_of(const unsigned char *data, size_t size);
bool wire_next(Wire *w, WireField *f); /* false: end, or malformed (w->bad) */
bool wire_varint(Wire *w, uint64_t *value);

float wire_float(const WireField *f); /* of a WIRE_32 field */
int64_t wire_int(const WireField *f); /* of a WIRE_VARINT field */
/* Number of elements of a repeated scalar field instance, packed or not; `size` is 4 or 8 bytes, or
 * 0 for varints.  -1: malformed. */
int64_t wire_count(const WireField *f, int size);

#endif
