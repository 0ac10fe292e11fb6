/* test_rt_safetensors.c: round trip, every truncation and every flipped bit of a file of ours,
 * hostile headers, faults while writing, JSON against jansson. */
#include "rt_files.h"

#include <math.h>

#include "rt_json.h"
#include "rt_safetensors.h"

#if __has_include(<jansson.h>)
#include <jansson.h>
#define HAVE_JANSSON 1
#endif

/* --- helpers -------------------------------------------------------------------------------------
 */

static const float weights[6] = {1, -2, 0.5f, 3e-38f, INFINITY, -0.0f};
static const float bias[2] = {7, 8};
static const int64_t shape[2] = {2, 3}, two[1] = {2}, none[2] = {0, 5};

static int write_sample(const char *path, int reverse, rt_error *err) {
    st_writer *w;
    if (st_writer_begin(&w, err))
        return err->code;
    uint8_t flags[3] = {1, 2, 3};
    const int64_t three[1] = {3};
    for (int i = 0; i < 4; i++)
        switch (reverse ? 3 - i : i) {
        case 0:
            st_writer_add(w, "c1.weight", ST_F32, 2, shape, weights, err);
            break;
        case 1:
            st_writer_add(w, "c1.bias", ST_F32, 1, two, bias, err);
            break;
        case 2:
            st_writer_add(w, "flags", ST_U8, 1, three, flags, err);
            break;
        default:
            st_writer_add(w, "empty", ST_F32, 2, none, NULL, err);
            break;
        }
    st_writer_meta(w, "step", "12", err);
    st_writer_meta(w, "classes", "a\nb\"c\\d \xC3\xBC", err);
    return st_writer_finish(w, path, err);
}

/* A file of the given header text and data bytes, length field right. */
static const char *hand_made(const char *header, size_t data) {
    static unsigned char buf[1 << 16];
    uint64_t n = strlen(header);
    memcpy(buf, &n, 8);
    memcpy(buf + 8, header, n);
    memset(buf + 8 + n, 0x3F, data);
    return put_file("hand.safetensors", buf, 8 + n + data);
}

static int open_code(const char *path, char *text) {
    st_file f;
    rt_error e = {0};
    int code = st_open(&f, path, 0, &e);
    st_close(&f);
    if (text)
        strcpy(text, e.text);
    return code;
}

/* --- tests ---------------------------------------------------------------------------------------
 */

static void round_trip(void) {
    rt_error e = {0};
    st_file f;
    const char *path = in_dir("w.safetensors");
    CU_ASSERT_EQUAL_FATAL(write_sample(path, 0, &e), 0);
    CU_ASSERT_EQUAL_FATAL(st_open(&f, path, 0, &e), 0);
    CU_ASSERT(f.tensors == 4 && f.verified);
    CU_ASSERT(strcmp(f.tensor[0].name, "c1.bias") == 0 && strcmp(f.tensor[3].name, "flags") == 0);
    const st_tensor *t = st_find(&f, "c1.weight");
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    CU_ASSERT(t->rank == 2 && t->dims[0] == 2 && t->dims[1] == 3 && t->count == 6 &&
              t->nbytes == 24);
    CU_ASSERT_EQUAL(t->offset % 8, 0);
    float x[6];
    CU_ASSERT_EQUAL(st_read(&f, t, x, 6, &e), 0);
    CU_ASSERT(memcmp(x, weights, sizeof x) == 0);
    CU_ASSERT_EQUAL(st_read_raw(&f, t, x, 1, 2, &e), 0);
    CU_ASSERT(x[0] == -2 && x[1] == 0.5f);
    CU_ASSERT_EQUAL(st_read(&f, t, x, 5, &e), NETRT_EDATA);
    e = (rt_error){0};
    CU_ASSERT_EQUAL(st_read(&f, st_find(&f, "flags"), x, 3, &e), NETRT_EDATA);
    CU_ASSERT(strstr(e.text, "flags") && strstr(e.text, "U8"));
    CU_ASSERT_EQUAL(st_find(&f, "empty")->count, 0);
    CU_ASSERT_PTR_NULL(st_find(&f, "c1.weigh"));
    CU_ASSERT_STRING_EQUAL(st_meta(&f, "classes"), "a\nb\"c\\d \xC3\xBC");
    CU_ASSERT_STRING_EQUAL(st_meta(&f, "step"), "12");
    CU_ASSERT_PTR_NULL(st_meta(&f, "stop"));
    st_close(&f);
    st_close(&f); /* twice is harmless */
}

static void order_does_not_matter(void) {
    rt_error e = {0};
    long n, m;
    write_sample(in_dir("a.st"), 0, &e);
    write_sample(in_dir("b.st"), 1, &e);
    unsigned char *a = get_file(in_dir("a.st"), &n), *b = get_file(in_dir("b.st"), &m);
    CU_ASSERT(n == m && memcmp(a, b, (size_t)n) == 0);
    free(a);
    free(b);
}

/* R12: all truncations, all flipped bits. */
static void every_damage_is_found(void) {
    rt_error e = {0};
    long n;
    char path[600], text[1024];
    strcpy(path, in_dir("good.st"));
    write_sample(path, 0, &e);
    unsigned char *bytes = get_file(path, &n);
    size_t live = rt_alloc_live();
    strcpy(path, in_dir("bad.st"));
    for (long cut = 0; cut < n; cut++) {
        put_file("bad.st", bytes, (size_t)cut);
        CU_ASSERT_EQUAL(open_code(path, text), NETRT_EDATA);
        CU_ASSERT(strstr(text, "bad.st") != NULL);
    }
    int missed = 0;
    for (long at = 0; at < n; at++)
        for (int bit = 0; bit < 8; bit++) {
            bytes[at] = (unsigned char)(bytes[at] ^ 1 << bit);
            put_file("bad.st", bytes, (size_t)n);
            int code = open_code(path, NULL);
            missed += code == 0;
            CU_ASSERT(code == NETRT_EDATA || code == NETRT_ELIMIT);
            bytes[at] = (unsigned char)(bytes[at] ^ 1 << bit);
        }
    CU_ASSERT_EQUAL(missed, 0);
    memcpy(bytes + n - 1, "x", 1);
    put_file("bad.st", bytes, (size_t)n);
    st_file f; /* the data may be looked at all the same when asked for */
    CU_ASSERT_EQUAL(st_open(&f, path, ST_OPEN_NO_CHECKSUM, &e), 0);
    CU_ASSERT_EQUAL(f.verified, 0);
    st_close(&f);
    free(bytes);
    CU_ASSERT_EQUAL(rt_alloc_live(), live);
}

static void foreign_files(void) {
    char text[1024];
    CU_ASSERT_EQUAL(open_code(hand_made("{}", 0), NULL), 0);
    CU_ASSERT_EQUAL(
        open_code(hand_made("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}  ", 4),
                  NULL),
        0);
    CU_ASSERT_EQUAL(
        open_code(hand_made("{\"a\":{\"shape\":[2],\"data_offsets\":[4,8],\"dtype\":\"F16\"},"
                            "\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[4,4]},"
                            "\"c\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                            8),
                  NULL),
        0);
#define T(name, dtype, shape, range)                                                               \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" range "}"
    static const struct {
        const char *header;
        size_t data;
        const char *says;
    } bad[] = {
        {"{" T("a", "F32", "[1]", "[0,4]") "," T("a", "F32", "[1]", "[4,8]") "}", 8, "twice"},
        {"{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[0,4]") "}", 4, "overlap"},
        {"{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[2]", "[2,10]") "}", 10, "overlap"},
        {"{" T("a", "F32", "[1]", "[4,8]") "}", 8, "hole"},
        {"{" T("a", "F32", "[1]", "[0,4]") "," T("b", "F32", "[1]", "[8,12]") "}", 12, "hole"},
        {"{" T("a", "F32", "[1]", "[0,4]") "}", 5, "follow"},
        {"{" T("a", "F32", "[1]", "[0,4]") "}", 3, "beyond"},
        {"{" T("a", "F32", "[2]", "[0,4]") "}", 4, "match"},
        {"{" T("a", "F32", "[1]", "[4,0]") "}", 4, "malformed"},
        {"{" T("a", "F32", "[4294967296,4294967296]", "[0,4]") "}", 4, "large"},
        {"{" T("a", "F32", "[0,18446744073709551615]", "[0,0]") "}", 0, "large"},
        {"{" T("a", "F32", "[18446744073709551616]", "[0,4]") "}", 4, "2^64"},
        {"{" T("a", "F32", "[-1]", "[0,4]") "}", 4, "negative"},
        {"{" T("a", "F32", "[1.0]", "[0,4]") "}", 4, "fraction"},
        {"{" T("a", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]") "}", 4, "dimensions"},
        {"{" T("a", "F33", "[1]", "[0,4]") "}", 4, "dtype"},
        {"{" T("a", "F32", "1", "[0,4]") "}", 4, "shape"},
        {"{" T("a", "F32", "[1]", "[0]") "}", 4, "data_offsets"},
        {"{" T("a", "F32", "[1]", "[0,\"4\"]") "}", 4, "data_offsets"},
        {"{" T("", "F32", "[1]", "[0,4]") "}", 4, "name"},
        {"{" T("a", "F32", "[1]", "[0,4]") ",}", 4, "key"},
        {"{" T("a", "F32", "[1]", "[0,4]") "}}", 4, "follows"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "expected dtype"},
        {"{\"a\":[]}", 0, "expected dtype"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "metadata"},
        {"{\"__metadata__\":[]}", 0, "metadata"},
        {"{\"__metadata__\":{\"netc.format\":\"1\"}}", 0, "checksum is missing"},
        {"{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}", 0, "nested"},
        {"[]", 0, "begin with '{'"},
        {" {}", 0, "begin with '{'"},
        {"{\"\\ud800\":1}", 0, "surrogate"},
        {"{\"\xff\":1}", 0, "UTF-8"},
        {"{\"\\u0000\":1}", 0, "NUL"},
    };
    for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
        int code = open_code(hand_made(bad[k].header, bad[k].data), text);
        CU_ASSERT(code == NETRT_EDATA || code == NETRT_ELIMIT);
        if (!strstr(text, bad[k].says))
            printf("[%s] should say '%s', says: %s\n", bad[k].header, bad[k].says, text);
        CU_ASSERT(strstr(text, bad[k].says) != NULL);
    }
    unsigned char pickle[16] = {'P', 'K', 3, 4, 20, 0, 0, 8};
    CU_ASSERT_EQUAL(open_code(put_file("model.pt", pickle, 16), text), NETRT_EDATA);
    CU_ASSERT(strstr(text, "PyTorch") != NULL);
    CU_ASSERT_EQUAL(open_code(in_dir("missing.st"), text), NETRT_EIO);
}

static void converts_types(void) {
    rt_error e = {0};
    st_writer *w;
    st_writer_begin(&w, &e);
    uint16_t half[9] = {0x3C00, 0xC000, 0x0001, 0x8000, 0x7C00, 0x03FF, 0x0400, 0x7BFF, 0x3555};
    uint16_t brain[2] = {0x3F80, 0xC049};
    double wide[2] = {1.0 / 3, 1 + 0x1p-24 + 0x1p-40};
    const int64_t nine[1] = {9};
    static float many[20000];
    double *big = malloc(sizeof(double) * 20000);
    for (int i = 0; i < 20000; i++)
        big[i] = i;
    const int64_t lots[1] = {20000};
    st_writer_add(w, "half", ST_F16, 1, nine, half, &e);
    st_writer_add(w, "brain", ST_BF16, 1, two, brain, &e);
    st_writer_add(w, "wide", ST_F64, 1, two, wide, &e);
    st_writer_add(w, "big", ST_F64, 1, lots, big, &e);
    CU_ASSERT_EQUAL_FATAL(st_writer_finish(w, in_dir("types.st"), &e), 0);
    free(big);
    st_file f;
    float x[9];
    CU_ASSERT_EQUAL_FATAL(st_open(&f, in_dir("types.st"), 0, &e), 0);
    CU_ASSERT_EQUAL(st_read(&f, st_find(&f, "half"), x, 9, &e), 0);
    CU_ASSERT(x[0] == 1 && x[1] == -2 && x[2] == 0x1p-24f && x[3] == 0 && signbit(x[3]) &&
              isinf(x[4]) && x[5] == 1023 * 0x1p-24f && x[6] == 0x1p-14f && x[7] == 65504 &&
              x[8] == 0.333251953125f);
    CU_ASSERT_EQUAL(st_read(&f, st_find(&f, "brain"), x, 2, &e), 0);
    CU_ASSERT(x[0] == 1 && x[1] == -3.140625f);
    CU_ASSERT_EQUAL(st_read(&f, st_find(&f, "wide"), x, 2, &e), 0);
    CU_ASSERT(x[0] == (float)(1.0 / 3) && x[1] == 1 + 0x1p-23f);
    CU_ASSERT_EQUAL(st_read(&f, st_find(&f, "big"), many, 20000, &e), 0);
    CU_ASSERT(many[0] == 0 && many[2048] == 2048 && many[19999] == 19999);
    st_close(&f);
}

static void writing_survives_faults(void) {
    rt_error e = {0};
    char path[600];
    make_dir("st");
    strcpy(path, in_dir("st/w.st"));
    write_sample(path, 0, &e);
    size_t live = rt_alloc_live();
    for (int nth = 1; nth < 100; nth++) {
        e = (rt_error){0};
        fault_arm(nth, nth & 1, ENOSPC);
        int code = write_sample(path, 0, &e), calls = fault_calls;
        fault_disarm();
        CU_ASSERT(code == 0 || code == NETRT_EIO);
        CU_ASSERT_EQUAL(open_code(path, NULL), 0);
        if (calls < nth)
            break;
    }
    for (int nth = 1; nth < 200; nth++) {
        e = (rt_error){0};
        rt_alloc_inject(nth, nth & 1);
        int code = write_sample(path, 0, &e);
        if (code == 0)
            code = open_code(path, NULL);
        rt_alloc_inject(0, 0);
        CU_ASSERT(code == 0 || code == NETRT_ELIMIT);
        CU_ASSERT_EQUAL(rt_alloc_live(), live);
        CU_ASSERT_EQUAL(open_code(path, NULL), 0);
    }
    for (int nth = 1; nth < 100; nth++) { /* reading: every call fails once */
        fault_arm(nth, 0, EIO);
        int code = open_code(path, NULL), calls = fault_calls;
        fault_disarm();
        CU_ASSERT(code == 0 || code == NETRT_EIO);
        if (calls < nth)
            break;
    }
    e = (rt_error){0};
    CU_ASSERT_EQUAL(write_sample("/dev/full", 0, &e), NETRT_EIO);
    CU_ASSERT(strstr(e.text, "No space left") != NULL);
    CU_ASSERT_EQUAL(rt_alloc_live(), live);
}

static void writer_refuses_nonsense(void) {
    rt_error e = {0};
    st_writer *w;
    st_writer_begin(&w, &e);
    CU_ASSERT_EQUAL(st_writer_add(w, "", ST_F32, 1, two, bias, &e), NETRT_EBUG);
    e = (rt_error){0};
    CU_ASSERT_EQUAL(st_writer_finish(w, in_dir("no.st"), &e), NETRT_EBUG); /* remembered */
    CU_ASSERT_NOT_EQUAL(access(in_dir("no.st"), F_OK), 0);
    e = (rt_error){0};
    st_writer_begin(&w, &e);
    st_writer_add(w, "a", ST_F32, 1, two, bias, &e);
    st_writer_add(w, "a", ST_F32, 1, two, bias, &e);
    CU_ASSERT_EQUAL(st_writer_finish(w, in_dir("no.st"), &e), NETRT_EBUG);
    e = (rt_error){0};
    st_writer_begin(&w, &e);
    CU_ASSERT_EQUAL(st_writer_meta(w, "k", "\xff", &e), NETRT_EBUG);
    st_writer_abort(w);
}

static void many_tensors(void) {
    rt_error e = {0};
    st_writer *w;
    st_writer_begin(&w, &e);
    for (int i = 0; i < 5000; i++) {
        char name[32];
        snprintf(name, sizeof name, "layer%d.weight", (i * 7919) % 5000);
        st_writer_add(w, name, ST_F32, 1, two, bias, &e);
    }
    CU_ASSERT_EQUAL(st_writer_finish(w, in_dir("many.st"), &e), 0);
    st_file f;
    CU_ASSERT_EQUAL_FATAL(st_open(&f, in_dir("many.st"), 0, &e), 0);
    CU_ASSERT_EQUAL(f.tensors, 5000);
    CU_ASSERT(st_find(&f, "layer4999.weight") && !st_find(&f, "layer5000.weight"));
    st_close(&f);
}

/* What we accept, jansson accepts; what jansson accepts and is in our subset, we accept. */
static void json_agrees_with_jansson(void) {
#ifdef HAVE_JANSSON
    static const char seed[] =
        "{\"a\":[1,2,{\"b\":\"x\\u00e9\\n\"}],\"__m\":{\"k\":\"v\"},\"t\":true,"
        "\"n\":null,\"big\":123456789012}";
    uint32_t x = 1;
    int both = 0, neither = 0;
    for (int round = 0; round < 20000; round++) {
        char text[sizeof seed];
        memcpy(text, seed, sizeof seed);
        for (int k = round % 4; k >= 0; k--) {
            x = x * 1664525u + 1013904223u;
            static const char pool[] = "{}[]\",:\\0123a \n\tu-.etrue\xC3\xA9";
            text[(x >> 8) % (sizeof seed - 1)] = pool[(x >> 24) % (sizeof pool - 1)];
        }
        rt_json doc;
        rt_error e = {0};
        json_error_t je;
        int ours = rt_json_parse(&doc, text, sizeof seed - 1, 16, 1000, "t", &e) == 0;
        json_t *j =
            json_loadb(text, sizeof seed - 1, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
        CU_ASSERT(!ours || j != NULL);
        /* Signs, fractions and exponents are outside the subset. */
        if (j && !ours && !strstr(e.text, "negative") && !strstr(e.text, "fraction"))
            printf("refused: %s: %s\n", text, e.text);
        CU_ASSERT(ours || !j || strstr(e.text, "negative") || strstr(e.text, "fraction"));
        both += ours && j;
        neither += !ours && !j;
        json_decref(j);
        rt_json_free(&doc);
    }
    CU_ASSERT(both > 500 && neither > 500);
#else
    suite_skip("jansson is not installed");
#endif
}

static void json_values(void) {
    static const char text[] =
        " {\"n\":18446744073709551615,\"s\":\"\\ud83d\\ude00\\/\",\"a\":[true,null]} ";
    rt_json doc;
    rt_error e = {0};
    CU_ASSERT_EQUAL_FATAL(rt_json_parse(&doc, text, sizeof text - 1, 4, 100, "t", &e), 0);
    CU_ASSERT_EQUAL(rt_json_get(&doc, &doc.node[0], "n")->number, UINT64_MAX);
    CU_ASSERT_STRING_EQUAL(rt_json_get(&doc, &doc.node[0], "s")->string, "\xF0\x9F\x98\x80/");
    CU_ASSERT_EQUAL(rt_json_get(&doc, &doc.node[0], "a")->count, 2);
    CU_ASSERT_PTR_NULL(rt_json_get(&doc, &doc.node[0], "x"));
    rt_json_free(&doc);
    CU_ASSERT_EQUAL(rt_json_parse(&doc, "[[[[[1]]]]]", 11, 4, 100, "t", &e), NETRT_ELIMIT);
    e = (rt_error){0};
    CU_ASSERT_EQUAL(rt_json_parse(&doc, "[1,2,3,4]", 9, 4, 4, "t", &e), NETRT_ELIMIT);
}

SUITE_MAIN(TEST(round_trip), TEST(order_does_not_matter), TEST(every_damage_is_found),
           TEST(foreign_files), TEST(converts_types), TEST(writing_survives_faults),
           TEST(writer_refuses_nonsense), TEST(many_tensors), TEST(json_agrees_with_jansson),
           TEST(json_values))
