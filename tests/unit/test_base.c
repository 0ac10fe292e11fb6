/* test_base.c: arenas, vectors, maps, text, sources and diagnostics of the compiler's base.
 *
 * ensures: what the headers of compiler/base promise, at the edges: sizes of zero, doubling, broken
 * UTF-8, first and last bytes of files, sorting and rendering of diagnostics.
 */
#define _GNU_SOURCE
#include "suite.h"

#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/bug.h"
#include "base/diag.h"
#include "base/limits.h"
#include "base/map.h"
#include "base/source.h"
#include "base/str.h"
#include "base/vec.h"

static jmp_buf escape;
static int exit_code;

static void record_exit(int code) {
    exit_code = code;
    longjmp(escape, 1);
}

static void arena_gives_zeroed_aligned_memory(void) {
    Arena *arena = arena_new();
    char *last = NULL;

    for (size_t size = 0; size < 5000; size += 7) {
        char *p = arena_alloc(arena, size);
        CU_ASSERT_EQUAL((uintptr_t)p % 16, 0);
        CU_ASSERT_NOT_EQUAL(p, last);
        for (size_t i = 0; i < size; i++)
            if (p[i] != 0)
                CU_FAIL("memory is not zero");
        memset(p, 0xff, size);
        last = p;
    }
    arena_reset(arena);
    CU_ASSERT_EQUAL(arena_used(arena), 0);
    int *again = ARENA_ARRAY(arena, 1000, int);
    for (int i = 0; i < 1000; i++)
        if (again[i] != 0)
            CU_FAIL("memory is not zero after a reset");
    char *large = arena_alloc(arena, 8 << 20);
    large[(8 << 20) - 1] = 1;
    CU_ASSERT_STRING_EQUAL(arena_printf(arena, "%s-%d", "a", 7), "a-7");
    CU_ASSERT_STRING_EQUAL(arena_strndup(arena, "abcdef", 3), "abc");
    arena_free(arena);
    arena_free(NULL);
}

static void arena_refuses_overflow(void) {
    Arena *arena = arena_new();
    void (*before)(int) = process_exit;
    FILE *saved = stderr;

    process_exit = record_exit;
    stderr = fopen("/dev/null", "w");
    exit_code = 0;
    if (setjmp(escape) == 0)
        arena_array(arena, INT64_MAX, 16);
    CU_ASSERT_EQUAL(exit_code, NETC_LIMIT);
    exit_code = 0;
    if (setjmp(escape) == 0)
        arena_array(arena, -1, 16);
    CU_ASSERT_EQUAL(exit_code, NETC_BUG);
    fclose(stderr);
    stderr = saved;
    process_exit = before;
    arena_free(arena);
}

static void vectors_grow_and_keep(void) {
    Arena *arena = arena_new();
    VEC(int) list = {0};

    for (int i = 0; i < 10000; i++)
        vec_push(arena, &list, i * 3);
    CU_ASSERT_EQUAL(list.len, 10000);
    for (int i = 0; i < list.len; i++)
        if (list.data[i] != i * 3)
            CU_FAIL("an element changed");
    CU_ASSERT_EQUAL(vec_last(&list), 29997);
    CU_ASSERT_EQUAL(vec_pop(&list), 29997);
    CU_ASSERT_EQUAL(*vec_add(arena, &list), 0);
    CU_ASSERT_EQUAL(list.len, 10000);
    arena_free(arena);
}

static void maps_find_and_keep_order(void) {
    Arena *arena = arena_new();
    Map map = map_new(arena);
    static int values[2000];

    CU_ASSERT_PTR_NULL(map_get(&map, "x"));
    for (int i = 0; i < 2000; i++)
        CU_ASSERT_TRUE(map_put(&map, arena_printf(arena, "key%d", i), &values[i]));
    for (int i = 0; i < 2000; i++) {
        if (map_get(&map, arena_printf(arena, "key%d", i)) != &values[i])
            CU_FAIL("wrong value");
        if (strcmp(map.entries[i].key, arena_printf(arena, "key%d", i)) != 0)
            CU_FAIL("wrong order");
    }
    CU_ASSERT_FALSE(map_put(&map, "key7", NULL));
    CU_ASSERT_PTR_NULL(map_get(&map, "key7"));
    CU_ASSERT_TRUE(map_has(&map, "key7"));
    CU_ASSERT_FALSE(map_has(&map, "key2000"));
    CU_ASSERT_EQUAL(map.count, 2000);
    arena_free(arena);
}

static void interned_text_is_equal_by_pointer(void) {
    char name[] = "conv1", longer[400];
    const char *first = intern("conv1", 5);

    CU_ASSERT_PTR_EQUAL(first, intern_z(name));
    CU_ASSERT_PTR_EQUAL(first, intern("conv12", 5));
    CU_ASSERT_PTR_NOT_EQUAL(first, intern_z("conv2"));
    CU_ASSERT_PTR_NULL(intern_z(NULL));
    memset(longer, 'x', sizeof longer);
    const char *big = intern(longer, 399);
    CU_ASSERT_EQUAL(strlen(big), 399);
    CU_ASSERT_PTR_EQUAL(big, intern(longer, 399));
    CU_ASSERT_PTR_NOT_EQUAL(big, intern(longer, 398));
}

static void text_is_built_and_escaped(void) {
    Arena *arena = arena_new();
    StrBuf buf = sb_new(arena);

    for (int i = 0; i < 1000; i++)
        sb_printf(&buf, "%d,", i);
    CU_ASSERT_EQUAL(buf.length, 3890);
    CU_ASSERT_STRING_EQUAL(buf.text + buf.length - 4, "999,");
    buf = sb_new(arena);
    sb_json(&buf, "a\"b\\\n\x01\xc3\xa9\xff");
    CU_ASSERT_STRING_EQUAL(buf.text, "\"a\\\"b\\\\\\n\\u0001\xc3\xa9\\ufffd\"");
    buf = sb_new(arena);
    sb_repeat(&buf, '-', 3);
    sb_repeat(&buf, '-', -3);
    CU_ASSERT_STRING_EQUAL(buf.text, "---");
    arena_free(arena);
}

static void utf8_is_checked_strictly(void) {
    CU_ASSERT_EQUAL(utf8_length("a", 1), 1);
    CU_ASSERT_EQUAL(utf8_length("\xc3\xa9", 2), 2);
    CU_ASSERT_EQUAL(utf8_length("\xe2\x82\xac", 3), 3);
    CU_ASSERT_EQUAL(utf8_length("\xf0\x9f\x98\x80", 4), 4);
    CU_ASSERT_EQUAL(utf8_length("\xc3", 1), 0);             /* cut off */
    CU_ASSERT_EQUAL(utf8_length("\xc0\x80", 2), 0);         /* overlong */
    CU_ASSERT_EQUAL(utf8_length("\xe0\x80\x80", 3), 0);     /* overlong */
    CU_ASSERT_EQUAL(utf8_length("\xed\xa0\x80", 3), 0);     /* surrogate */
    CU_ASSERT_EQUAL(utf8_length("\xf4\x90\x80\x80", 4), 0); /* beyond U+10FFFF */
    CU_ASSERT_EQUAL(utf8_length("\x80", 1), 0);
}

static void near_names_are_suggested(void) {
    static const char *const names[] = {"conv", "dense", "maxpool", "in", "softmax"};

    CU_ASSERT_STRING_EQUAL(nearest_name("cnov", names, 5), "conv");
    CU_ASSERT_STRING_EQUAL(nearest_name("sofmax", names, 5), "softmax");
    CU_ASSERT_STRING_EQUAL(nearest_name("Maxpol", names, 5), "maxpool");
    CU_ASSERT_PTR_NULL(nearest_name("xyz", names, 5));
    CU_ASSERT_PTR_NULL(nearest_name("on", names, 5)); /* two letters: never */
    CU_ASSERT_EQUAL(edit_distance("kitten", "sitting"), 3);
    CU_ASSERT_EQUAL(edit_distance("ab", "ba"), 1);
    CU_ASSERT_EQUAL(edit_distance("", "abc"), 3);
}

static void locations_become_lines_and_columns(void) {
    Arena *arena = arena_new();
    Sources *sources = sources_new(arena);
    SourceFile *a, *b;
    int length;

    CU_ASSERT_EQUAL(source_add(sources, "a", "one\ntwo\r\n\nend", 13, LOC_NONE, &a), SOURCE_OK);
    CU_ASSERT_EQUAL(source_add(sources, "b", "", 0, LOC_NONE, &b), SOURCE_OK);
    CU_ASSERT_EQUAL(a->line_count, 4);
    SourcePos pos = source_pos(sources, a->base);
    CU_ASSERT_TRUE(pos.file == a && pos.line == 1 && pos.column == 1);
    pos = source_pos(sources, a->base + 5);
    CU_ASSERT_TRUE(pos.line == 2 && pos.column == 2);
    pos = source_pos(sources, a->base + 13); /* end of file */
    CU_ASSERT_TRUE(pos.file == a && pos.line == 4 && pos.column == 4);
    pos = source_pos(sources, b->base);
    CU_ASSERT_TRUE(pos.file == b && pos.line == 1 && pos.column == 1);
    CU_ASSERT_PTR_NULL(source_pos(sources, 0).file);
    CU_ASSERT_PTR_NULL(source_of(sources, b->base + 1));
    CU_ASSERT_STRING_EQUAL(arena_strndup(arena, source_line(a, 2, &length), 3), "two");
    CU_ASSERT_EQUAL(length, 3); /* without the carriage return */
    source_line(a, 3, &length);
    CU_ASSERT_EQUAL(length, 0);
    LocRange joined = loc_join((LocRange){5, 7}, (LocRange){2, 3});
    CU_ASSERT_TRUE(joined.begin == 2 && joined.end == 7);
    arena_free(arena);
}

static void sources_have_limits(void) {
    Arena *arena = arena_new();
    Sources *sources = sources_new(arena);
    SourceFile *file;
    char *text = arena_alloc(arena, LIMIT_FILE_BYTES + 1);

    CU_ASSERT_EQUAL(source_add(sources, "x", text, LIMIT_FILE_BYTES + 1, LOC_NONE, &file),
                    SOURCE_TOO_LARGE);
    CU_ASSERT_PTR_NULL(file);
    int taken = 0;
    while (source_add(sources, "x", text, LIMIT_FILE_BYTES, LOC_NONE, &file) == SOURCE_OK)
        taken++;
    CU_ASSERT_EQUAL(taken, LIMIT_TOTAL_BYTES / LIMIT_FILE_BYTES - 1); /* one byte more per file */
    CU_ASSERT_EQUAL(source_load(sources, "/nonexistent/x", LOC_NONE, &file), SOURCE_UNREADABLE);
    CU_ASSERT_EQUAL(source_load(sources, "/", LOC_NONE, &file), SOURCE_UNREADABLE);
    CU_ASSERT_EQUAL(source_load(sources, "/dev/zero", LOC_NONE, &file), SOURCE_UNREADABLE);
    arena_free(arena);
    arena = arena_new();
    sources = sources_new(arena);
    for (int i = 0; i < LIMIT_FILES; i++)
        CU_ASSERT_EQUAL(source_add(sources, "x", "", 0, LOC_NONE, &file), SOURCE_OK);
    CU_ASSERT_EQUAL(source_add(sources, "x", "", 0, LOC_NONE, &file), SOURCE_TOO_MANY);
    arena_free(arena);
}

/* One file, its context, and a range in it. */
typedef struct Fixture {
    Arena *arena;
    Sources *sources;
    DiagCtx *diag;
    SourceFile *file;
} Fixture;

static Fixture fixture(const char *text) {
    Fixture f = {.arena = arena_new()};

    f.sources = sources_new(f.arena);
    f.diag = diag_ctx_new(f.arena, f.sources);
    source_add(f.sources, "zf.net", text, strlen(text), LOC_NONE, &f.file);
    return f;
}

static LocRange range(const Fixture *f, int from, int length) {
    return (LocRange){f->file->base + (Loc)from, f->file->base + (Loc)(from + length)};
}

static const char *rendered(const Fixture *f, DiagFormat format) {
    StrBuf out = sb_new(f->arena);

    diag_render_to(f->diag, &out, format, false);
    return out.text;
}

static void diagnostics_read_like_the_manual(void) {
    Fixture f = fixture("net A {\n\tc1: conv(6)\n}\n");
    Diag *d = diag_error(f.diag, range(&f, 13, 4), "E0104", "unknown operation '%s'", "conv");

    diag_label(d, "here");
    diag_note(d, LOC_NONE, "because");
    diag_note(d, range(&f, 4, 1), "in this net");
    diag_help(d, "write dense");
    diag_suggest(d, range(&f, 13, 4), "dense");
    CU_ASSERT_STRING_EQUAL(
        rendered(&f, DIAG_TEXT),
        "zf.net:2:13: error[E0104]: unknown operation 'conv'; did you mean 'dense'?\n"
        "2 |         c1: conv(6)\n"
        "  |             ^~~~ here\n"
        "  = note: because\n"
        "zf.net:1:5: note: in this net\n"
        "1 | net A {\n"
        "  |     ^\n"
        "  = help: write dense\n"
        "  = fix: zf.net:2:6 \"conv\" -> \"dense\"\n"
        "1 error\n");
    CU_ASSERT_STRING_EQUAL(
        rendered(&f, DIAG_JSON),
        "[\n{\"code\":\"E0104\",\"severity\":\"error\",\"file\":\"zf.net\",\"line\":2,\"col\":6,"
        "\"endcol\":10,\"message\":\"unknown operation 'conv'; did you mean 'dense'?\","
        "\"label\":\"here\",\"notes\":[{\"kind\":\"note\",\"file\":null,\"line\":0,\"col\":0,"
        "\"endcol\":0,\"message\":\"because\"},{\"kind\":\"note\",\"file\":\"zf.net\",\"line\":1,"
        "\"col\":5,\"endcol\":6,\"message\":\"in this net\"},{\"kind\":\"help\",\"file\":null,"
        "\"line\":0,\"col\":0,\"endcol\":0,\"message\":\"write dense\"}],\"fixits\":[{\"file\":"
        "\"zf.net\",\"line\":2,\"col\":6,\"endcol\":10,\"replacement\":\"dense\"}]}\n]\n");
    arena_free(f.arena);
}

static void diagnostics_are_sorted_once_each_and_capped(void) {
    Fixture f = fixture("0123456789012345678901234567890123456789");
    int count;

    for (int i = 29; i >= 0; i--) {
        diag_error(f.diag, range(&f, i, 1), "E0001", "at %d", i);
        diag_error(f.diag, range(&f, i, 1), "E0001", "echo of %d", i);
    }
    diag_warning(f.diag, range(&f, 3, 1), "W0401", "careful");
    Diag *const *all = diag_sorted(f.diag, &count);
    CU_ASSERT_EQUAL(count, 31);
    CU_ASSERT_STRING_EQUAL(all[0]->message, "at 0");
    CU_ASSERT_STRING_EQUAL(all[count - 1]->message, "at 29");
    CU_ASSERT_TRUE(diag_full(f.diag));
    const char *text = rendered(&f, DIAG_TEXT);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "at 19\n"));
    CU_ASSERT_PTR_NULL(strstr(text, "at 20\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "30 errors, 1 warning\n"));
    arena_free(f.arena);
}

static void warnings_can_be_errors(void) {
    Fixture f = fixture("x");

    diag_warning(f.diag, range(&f, 0, 1), "W0401", "one");
    CU_ASSERT_EQUAL(diag_errors(f.diag), 0);
    CU_ASSERT_EQUAL(diag_warnings(f.diag), 1);
    diag_warnings_are_errors(f.diag, true);
    diag_warning(f.diag, range(&f, 0, 1), "W0402", "two");
    CU_ASSERT_EQUAL(diag_errors(f.diag), 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(rendered(&f, DIAG_TEXT), "error[W0402]: two"));
    arena_free(f.arena);
}

static void hostile_text_cannot_drive_the_terminal(void) {
    Arena *arena = arena_new();
    StrBuf line = sb_new(arena);

    sb_puts(&line, "\033[31m\x07");
    sb_repeat(&line, 'x', 5000);
    sb_puts(&line, "!");
    Fixture f = fixture(line.text);
    diag_error(f.diag, range(&f, (int)line.length - 1, 1), "E0002", "bad \033 text");
    diag_error(f.diag, range(&f, 0, 5000), "E0002", "all of it");
    const char *text = rendered(&f, DIAG_TEXT);
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 && *p != '\n')
            CU_FAIL("control character in the output");
    for (const char *p = text; *p; p += strcspn(p, "\n") + 1)
        CU_ASSERT_TRUE(strcspn(p, "\n") < 200);
    arena_free(f.arena);
    arena_free(arena);
}

static void files_that_are_not_sources_can_be_blamed(void) {
    Fixture f = fixture("");

    diag_path(diag_error(f.diag, LOC_NONE, "E0602", "wrong shape"), "w.safetensors");
    diag_error(f.diag, LOC_NONE, "E0603", "no place at all");
    CU_ASSERT_STRING_EQUAL(rendered(&f, DIAG_TEXT),
                           "w.safetensors: error[E0602]: wrong shape\n"
                           "netc: error[E0603]: no place at all\n2 errors\n");
    arena_free(f.arena);
}

SUITE_MAIN(TEST(arena_gives_zeroed_aligned_memory), TEST(arena_refuses_overflow),
           TEST(vectors_grow_and_keep), TEST(maps_find_and_keep_order),
           TEST(interned_text_is_equal_by_pointer), TEST(text_is_built_and_escaped),
           TEST(utf8_is_checked_strictly), TEST(near_names_are_suggested),
           TEST(locations_become_lines_and_columns), TEST(sources_have_limits),
           TEST(diagnostics_read_like_the_manual),
           TEST(diagnostics_are_sorted_once_each_and_capped), TEST(warnings_can_be_errors),
           TEST(hostile_text_cannot_drive_the_terminal),
           TEST(files_that_are_not_sources_can_be_blamed))
