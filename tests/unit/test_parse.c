/* test_parse.c: the parser: what the tree holds, canonical text, and files that mean harm.
 *
 * ensures: print(parse(x)) parses to an equal tree for every spec of the tree; no text, however large,
 * deep or broken, crashes, hangs or goes without a located message.
 */
#define _GNU_SOURCE
#include "suite.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "front/explain.h"
#include "front/parse.h"

typedef struct Parsed {
    Arena *arena;
    Sources *sources;
    DiagCtx *diag;
    Ast *ast;
} Parsed;

static Parsed parse_bytes(const char *text, size_t size) {
    Parsed p = {.arena = arena_new()};

    p.sources = sources_new(p.arena);
    p.diag = diag_ctx_new(p.arena, p.sources);
    p.ast = parse_text(p.arena, p.sources, p.diag, "t.net", text, size, NULL);
    return p;
}

static Parsed parse(const char *text) {
    return parse_bytes(text, strlen(text));
}

static void drop(Parsed *p) {
    arena_free(p->arena);
}

/* The first message has a help with these words and, unless edit is NULL, that replacement. */
static void hinted(const char *text, const char *help, const char *edit) {
    Parsed p = parse(text);
    int count;
    Diag *const *all = diag_sorted(p.diag, &count);
    bool right = false;

    CU_ASSERT_PTR_NULL(p.ast);
    for (int i = 0; count > 0 && i < all[0]->note_count; i++)
        right |= all[0]->notes[i].is_help && strstr(all[0]->notes[i].text, help);
    if (right && edit)
        right = all[0]->fixit_count == 1 && strcmp(all[0]->fixits[0].replacement, edit) == 0;
    else if (right)
        right = all[0]->fixit_count == 0;
    CU_ASSERT_TRUE(right);
    if (!right)
        printf("  no '%s' for: %s\n", help, text);
    drop(&p);
}

static void hints(void) {
#define IN_NET(text) "net A {\n" text "\n}\n"
    hinted(IN_NET("c: conv(8 3x3)"), "a ',' is missing in front of 3x3", ",");
    hinted(IN_NET("c: conv(8, pad = 1 stride = 2)"), "a ',' is missing in front of stride", ",");
    hinted(IN_NET("c: conv(8, 3x3 -> relu"), "a ')' is missing in front of '->'", ")");
    hinted(IN_NET("c conv(8)"), "a label is followed by ':'", NULL);
    hinted(IN_NET("c: conv(8) > relu"), "joined by '->'", "->");
    hinted(IN_NET("c: conv(8), relu"), "joined by '->'", NULL);
    hinted(IN_NET("train { batch = 3 epochs = 4 }"), "separated by ';'", ";");
    hinted(IN_NET("repeat 3 c: conv(8)"), "stands in { .. }", NULL);
    hinted(IN_NET("for i in 1..3 { c: conv(8) }"), "repeat i in 1..3", NULL);
    hinted(IN_NET("input label: class(10)"), "square brackets: class[10]", NULL);
    hinted(IN_NET("input x: f32(3, 8, 8)"), "f32[3, 32, 32]", NULL);
    hinted(IN_NET("loss cross_entropy(f, y)"), "loss NAME: cross_entropy(..)", NULL);
    hinted(IN_NET("insert relu behind c1"), "after LABEL", NULL);
    hinted(IN_NET("c: conv(8, 3\u00d73)"), "letter x", NULL);
    hinted(IN_NET("c: conv(8) \u2192 relu"), "written ->", NULL);
    hinted("network A { }", "net NAME", "net");
    hinted("Net A { }", "net NAME", "net");
    hinted(IN_NET("freeze c*"), "in quotes: \"c*\"", NULL);
    hinted(IN_NET("c: conv(8) -> relu 6"), "relu(6)", NULL);
    hinted(IN_NET("  c: conv(8)\n  variants T of A { a { } }"), "side by side", NULL);
#undef IN_NET
}

/* The text gives exactly one diagnostic: this code, line and (byte) column. */
static void one_error(const char *text, size_t size, const char *code, int line, int column) {
    Parsed p = parse_bytes(text, size);
    int count;
    Diag *const *all = diag_sorted(p.diag, &count);

    CU_ASSERT_PTR_NULL(p.ast);
    CU_ASSERT_EQUAL(count, 1);
    if (count > 0) {
        SourcePos pos = source_pos(p.sources, all[0]->range.begin);
        bool right = strcmp(all[0]->code, code) == 0 && pos.line == line && pos.column == column;
        CU_ASSERT_TRUE(right);
        if (!right)
            printf("  %d:%d %s: %s\n", pos.line, pos.column, all[0]->code, all[0]->message);
    }
    drop(&p);
}

static void error_in(const char *text, const char *code, int line, int column) {
    one_error(text, strlen(text), code, line, column);
}

/* ---- the tree ---- */
static Ast *first_member(const Parsed *p) {
    return p->ast->file.items.items[0]->net.members.items[0];
}

static void statements_have_their_parts(void) {
    Parsed p = parse("net N(a, b = 2) extends M(1) { c1: x -> conv(6, 5x5, pad = 1) as k[2].w }");

    CU_ASSERT_PTR_NOT_NULL_FATAL(p.ast);
    Ast *net = p.ast->file.items.items[0];
    CU_ASSERT_EQUAL(net->kind, AST_NET);
    CU_ASSERT_STRING_EQUAL(net->name, "N");
    CU_ASSERT_STRING_EQUAL(net->net.base, "M");
    CU_ASSERT_EQUAL(net->net.formals.count, 2);
    CU_ASSERT_PTR_NULL(net->net.formals.items[0]->formal.value);
    CU_ASSERT_EQUAL(net->net.formals.items[1]->formal.value->num.integer, 2);
    Ast *stmt = first_member(&p);
    CU_ASSERT_PTR_EQUAL(stmt->name, intern_z("c1"));
    CU_ASSERT_EQUAL(stmt->stmt.chain->chain.stages.count, 2);
    Ast *stage = stmt->stmt.chain->chain.stages.items[1], *call = stage->stage.prim;
    CU_ASSERT_STRING_EQUAL(call->name, "conv");
    CU_ASSERT_EQUAL(call->call.args.count, 3);
    Ast *extent = call->call.args.items[1]->arg.value;
    CU_ASSERT_TRUE(extent->kind == AST_EXTENT && extent->extent.count == 2 &&
                   extent->extent.dims[1] == 5);
    CU_ASSERT_STRING_EQUAL(call->call.args.items[2]->name, "pad");
    CU_ASSERT_PTR_NULL(stage->stage.as->name);
    CU_ASSERT_PTR_NULL(stage->stage.as->path.dotted);
    CU_ASSERT_STRING_EQUAL(ast_text(p.arena, stage->stage.as), "k[2].w");
    SourcePos at = source_pos(p.sources, call->name_loc.begin);
    CU_ASSERT_TRUE(at.line == 1 && at.column == 41);
    drop(&p);
}

static void numbers_keep_value_unit_and_text(void) {
    Parsed p = parse("const a = [50%, 1e-2, 3epoch, 9007199254740993, 0.1]");

    CU_ASSERT_PTR_NOT_NULL_FATAL(p.ast);
    Ast **num = p.ast->file.items.items[0]->constant.value->list.items.items;
    CU_ASSERT_TRUE(num[0]->num.value == 50 && num[0]->num.unit == intern_z("%"));
    CU_ASSERT_TRUE(num[1]->num.value == 1e-2 && !num[1]->num.is_int && !num[1]->num.unit[0]);
    CU_ASSERT_TRUE(num[2]->num.integer == 3 && num[2]->num.unit == intern_z("epoch"));
    CU_ASSERT_EQUAL(num[3]->num.integer, INT64_C(9007199254740993)); /* not a double */
    CU_ASSERT_STRING_EQUAL(num[4]->num.text, "0.1");
    drop(&p);
}

static void soft_words_are_names_elsewhere(void) {
    static const char *const words[] = {"defaults", "data", "train", "predict", "visualize", "loss",
                                        "metric",   "set",  "of",    "with",    "after",     "before",
                                        "as"};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        Arena *arena = arena_new();
        char *text = arena_printf(arena,
                                  "net N { %s: relu; x -> %s; f(%s, a.%s, %s = 1)\n"
                                  "data { %s = 2; a.%s = 3 } }",
                                  words[i], words[i], words[i], words[i], words[i], words[i],
                                  words[i]);
        Parsed p = parse(text);
        CU_ASSERT_PTR_NOT_NULL(p.ast);
        if (!p.ast)
            printf("  '%s'\n", words[i]);
        drop(&p);
        arena_free(arena);
    }
}

static void expressions_parse_alone(void) {
    Parsed p = parse("");
    Ast *good = parse_expression(p.arena, p.sources, p.diag, "<command line>", "2 * (3 + x)");

    CU_ASSERT_PTR_NOT_NULL(p.ast);
    CU_ASSERT_PTR_NOT_NULL_FATAL(good);
    CU_ASSERT_STRING_EQUAL(ast_text(p.arena, good), "2 * (3 + x)");
    CU_ASSERT_PTR_NULL(parse_expression(p.arena, p.sources, p.diag, "<command line>", "2 *"));
    CU_ASSERT_PTR_NULL(parse_expression(p.arena, p.sources, p.diag, "<command line>", ""));
    CU_ASSERT_PTR_NULL(parse_expression(p.arena, p.sources, p.diag, "<command line>", "1; 2"));
    CU_ASSERT_EQUAL(diag_errors(p.diag), 3);
    drop(&p);
}

/* ---- canonical text ---- */
static bool round_trips(const char *path) {
    Arena *arena = arena_new();
    Sources *sources = sources_new(arena);
    DiagCtx *diag = diag_ctx_new(arena, sources);
    Ast *first = parse_file(arena, sources, diag, path, NULL);
    StrBuf text = sb_new(arena), again = sb_new(arena);
    bool ok = true;

    if (first) {
        ast_print_to(first, &text);
        Ast *second = parse_text(arena, sources, diag, path, text.text, text.length, NULL);
        ok = second && ast_equal(first, second);
        if (second)
            ast_print_to(second, &again);
        ok = ok && strcmp(text.text, again.text) == 0;
    }
    bool was_read = first != NULL || diag_errors(diag) > 0;
    arena_free(arena);
    return ok && was_read;
}

static int round_trip_folder(const char *folder) {
    const char *root = getenv("NETC_SOURCE_DIR");
    char path[4096];
    int count = 0;
    struct dirent *entry;

    snprintf(path, sizeof path, "%s/%s", root ? root : ".", folder);
    DIR *dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        size_t length = strlen(entry->d_name);
        if (length < 5 || strcmp(entry->d_name + length - 4, ".net") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s/%s", root ? root : ".", folder, entry->d_name);
        bool ok = round_trips(path);
        CU_ASSERT_TRUE(ok);
        if (!ok)
            printf("  %s\n", path);
        count++;
    }
    if (dir)
        closedir(dir);
    return count;
}

static void printed_text_parses_to_the_same_tree(void) {
    if (round_trip_folder("tests/golden/parse") == 0)
        suite_skip("the golden files are not here (NETC_SOURCE_DIR)");
    round_trip_folder("specs");
}

static void different_trees_differ(void) {
    static const char *const texts[] = {
        "const a = 1",       "const a = 2",       "const b = 1",      "const a = 1%",
        "const a = 1.0",     "const a = -1",      "const a = 1 + 2",  "const a = 1 - 2",
        "const a = f(1)",    "const a = f(x = 1)", "const a = [1]",   "const a = 1x1",
        "const a = \"1\"",   "block a() { in }",  "block a() { out in }", "net a { x: in }",
        "net a { in }",      "net a { in -> in }", "net a { [in, in] }", "net a(b) { }",
    };
    enum { COUNT = sizeof texts / sizeof *texts };

    for (int i = 0; i < COUNT; i++) {
        for (int j = 0; j < COUNT; j++) {
            Parsed a = parse(texts[i]), b = parse(texts[j]);
            CU_ASSERT_PTR_NOT_NULL_FATAL(a.ast);
            CU_ASSERT_EQUAL(ast_equal(a.ast, b.ast), i == j);
            drop(&a);
            drop(&b);
        }
    }
}

/* ---- hostile text ---- */
static void broken_bytes_are_located(void) {
    one_error("net A {\n c: f(\0)\n}", 17, "E0015", 2, 7);
    error_in("# caf\xe9\nconst a = 1", "E0015", 1, 6);
    error_in("const a = \"\xc3\"", "E0015", 1, 12);
    error_in("const \xc3\xa9t = 1", "E0002", 1, 7);
    error_in("const a = 1\rconst b = 2", "E0002", 1, 12);
    error_in("const a = \"tab\tand \x01\"", "E0004", 1, 20);
    error_in("const a = \"never closed", "E0003", 1, 11);
    error_in("const a = \"closed by a quote\\\"", "E0003", 1, 11);
    error_in("const a = \"ends in \\", "E0003", 1, 11);
    error_in("const a = 1 \xef\xbb\xbf", "E0002", 1, 13);
}

static void marks_and_line_ends_of_other_systems_are_accepted(void) {
    Parsed p = parse("\xef\xbb\xbf"
                     "const a = 1\r\nblock b(x) {\r\n  in\r\n\r\n    -> conv(x)\r\n}\r\n");

    CU_ASSERT_PTR_NOT_NULL(p.ast);
    CU_ASSERT_EQUAL(diag_errors(p.diag), 0);
    drop(&p);
    p = parse("");
    CU_ASSERT_PTR_NOT_NULL(p.ast);
    drop(&p);
    p = parse(";;\n\n;#x");
    CU_ASSERT_PTR_NOT_NULL(p.ast);
    drop(&p);
}

/* head, then unit count times, then tail */
static Parsed parse_repeated(const char *head, const char *unit, int count, const char *tail) {
    Arena *arena = arena_new();
    StrBuf text = sb_new(arena);

    sb_puts(&text, head);
    for (int i = 0; i < count; i++)
        sb_puts(&text, unit);
    sb_puts(&text, tail);
    Parsed p = parse_bytes(text.text, text.length);
    arena_free(arena);
    return p;
}

static void repeated(const char *head, const char *unit, int count, const char *tail,
                     const char *code) {
    Parsed p = parse_repeated(head, unit, count, tail);
    int errors;
    Diag *const *all = diag_sorted(p.diag, &errors);

    if (!code) {
        CU_ASSERT_PTR_NOT_NULL(p.ast);
    } else {
        CU_ASSERT_PTR_NULL(p.ast);
        CU_ASSERT_TRUE(errors >= 1 && errors <= 2 * LIMIT_DIAGNOSTICS);
        if (errors > 2 * LIMIT_DIAGNOSTICS)
            printf("  %s%s...: %d errors\n", head, unit, errors);
        bool found = false;
        for (int i = 0; i < errors; i++)
            found |= strcmp(all[i]->code, code) == 0;
        CU_ASSERT_TRUE(found);
        if (!found)
            printf("  %s%s...: %s\n", head, unit, errors ? all[0]->message : "no error");
    }
    drop(&p);
}

static void depth_is_limited(void) {
    repeated("const a = ", "(", 100000, "1", "E0008");
    repeated("const a = ", "[", 100000, "", "E0008");
    repeated("const a = ", "f(", 100000, "", "E0008");
    repeated("const a = ", "a[", 100000, "", "E0008");
    repeated("const a = ", "!", 100000, "1", "E0008");
    repeated("const a = ", "- ", 100000, "1", "E0008");
    repeated("const a = 1", " + 1", 100000, "", "E0008");
    repeated("net A { ", "[", 100000, "", "E0008");
    repeated("net A { ", "if x { ", 100000, "", "E0008");
    repeated("net A { if x { }", " else if x { }", 50000, "}", "E0008");
    repeated("net A { ", "repeat 2 { ", 50000, "", "E0008");
    repeated("", "net A { ", 50000, "", "E0001");
    repeated("const a = ", "(", LIMIT_NESTING - 1, "1", "E0001"); /* deep enough, but not closed */
    repeated("const a = 1", " + 1", 400, "", NULL);
    repeated("net A { if x { }", " else if x { }", 200, "}", NULL);
}

static void length_is_not(void) {
    repeated("net A {\n", "x: in\n", 100000, "}", NULL);
    repeated("net A { x", " -> relu", 100000, "}", NULL);
    repeated("const a = [", "1,", 400000, "]", NULL);
    repeated("const a = f(", "b = 1,", 100000, ")", NULL);
    repeated("", "const a = 1\n", 80000, "", NULL);
    repeated("# ", "x", 1000000, "", NULL);
    repeated("const a = \"", "x", 1000000, "\"", NULL);
    repeated("const a = x", ".y", 100000, "", NULL);
    repeated("", "\n", 1000000, "", NULL);
    repeated("net A { f(x)\n", "\n# c", 200000, "\n-> relu }", NULL);
    repeated("const a = ", "1", 100000, "", "E0007");
    repeated("const a = 1", "x1", 100000, "", "E0007");
    repeated("const ", "a", 256, " = 1", "E0016");
    repeated("const ", "a", 255, " = 1", NULL);
    repeated("# ", "0123456789", 1000000, "", "E0009"); /* one line of 10 MB */
}

static void rubbish_ends_soon(void) {
    repeated("", "@", 1000000, "", "E0002");
    repeated("", "@ ", 500000, "", "E0002");
    repeated("", "}", 1000000, "", "E0001");
    repeated("", ") ", 500000, "", "E0001");
    repeated("", "net ", 250000, "", "E0001");
    repeated("", "x = \n", 200000, "", "E0001");
    repeated("", "\"\n", 500000, "", "E0003");
    repeated("net A { ", "foo bar {", 100000, "", "E0001");
    repeated("net A { x: conv(\n", "y: conv(\n", 100000, "", "E0001");
    repeated("net A {", "if ! {", 100000, "", "E0001");
    repeated("", "\xff", 1000000, "", "E0015");
    repeated("", "1.", 400000, "", "E0005");
    repeated("", "-> else ", 100000, "", "E0001");
}

/* Every prefix and every single-byte change of a spec: the parser ends, with a tree or an error. */
static void mutations_never_crash(void) {
    static const char spec[] =
        "include \"x\"\nconst C = [[0, 1], 3x3]\nblock b(c, k = 1) { if c == 2 { in -> f(c) as q }\n"
        "else { out [in, in] -> add }; repeat i in 1..2 { r[i]: in } }\n"
        "net N(a) extends M { input x: f32[1]; c: conv(50%, \"s\\n\") # c\n -> relu\n loss l: f(c)\n"
        "train { lr = 1e-2; j: k(2) }; remove a..b, \"c*\"; set x.y = !1 || 2; insert f after g }\n"
        "variants V of N { \"7\" { freeze c } }\n";
    static const char bytes[] = "{}()[]\";\n\\#.x1 =-\x00\xff";
    char text[sizeof spec];

    for (size_t size = 0; size < sizeof spec; size++) {
        Parsed p = parse_bytes(spec, size);
        CU_ASSERT_TRUE(p.ast != NULL || diag_errors(p.diag) > 0);
        drop(&p);
    }
    for (size_t at = 0; at + 1 < sizeof spec; at++) {
        for (size_t i = 0; i < sizeof bytes - 1; i++) {
            memcpy(text, spec, sizeof spec);
            text[at] = bytes[i];
            Parsed p = parse_bytes(text, sizeof spec - 1);
            CU_ASSERT_TRUE(p.ast != NULL || diag_errors(p.diag) > 0);
            drop(&p);
        }
    }
}

/* ---- include ---- */
static void write_file(const char *folder, const char *name, const char *text) {
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(text, file);
    fclose(file);
}

static Parsed parse_path(const char *folder, const char *name, const ParseOptions *options) {
    Parsed p = {.arena = arena_new()};

    p.sources = sources_new(p.arena);
    p.diag = diag_ctx_new(p.arena, p.sources);
    p.ast = parse_file(p.arena, p.sources, p.diag, arena_printf(p.arena, "%s/%s", folder, name),
                       options);
    return p;
}

static void expect_code(const Parsed *p, const char *code) {
    int count;
    Diag *const *all = diag_sorted(p->diag, &count);

    CU_ASSERT_PTR_NULL(p->ast);
    CU_ASSERT_EQUAL(count, 1);
    if (count > 0)
        CU_ASSERT_STRING_EQUAL(all[0]->code, code);
}

static void includes_are_followed_once(void) {
    char folder[] = "/tmp/netc-test-XXXXXX", other[4096], name[32], text[64];

    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
    snprintf(other, sizeof other, "%s/lib", folder);
    mkdir(other, 0700);
    write_file(folder, "main.net", "include \"a.net\"\ninclude \"b.net\"\nconst m = 1\n");
    write_file(folder, "a.net", "include \"b.net\"\nconst a = 1\n");
    write_file(folder, "b.net", "const b = 1\n");
    write_file(other, "far.net", "const far = 1\n");
    write_file(folder, "far_main.net", "include \"far.net\"\n");
    write_file(folder, "loop.net", "include \"loop2.net\"\n");
    write_file(folder, "loop2.net", "\ninclude \"./loop.net\"\n");
    write_file(folder, "broken.net", "include \"bad.net\"\nconst a = 1\n");
    write_file(folder, "bad.net", "const = 1\n");
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "deep%d.net", i);
        snprintf(text, sizeof text, "include \"deep%d.net\"\n", i + 1);
        write_file(folder, name, i == 19 ? "" : text);
    }
    Parsed p = parse_path(folder, "main.net", NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(p.ast);
    AstList items = ast_flatten_items(p.arena, p.ast);
    CU_ASSERT_EQUAL_FATAL(items.count, 3);
    CU_ASSERT_STRING_EQUAL(items.items[0]->name, "b");
    CU_ASSERT_STRING_EQUAL(items.items[1]->name, "a");
    CU_ASSERT_STRING_EQUAL(items.items[2]->name, "m");
    CU_ASSERT_PTR_NULL(p.ast->file.items.items[1]->include.file);
    drop(&p);
    p = parse_path(folder, "far_main.net", NULL);
    expect_code(&p, "E0011");
    drop(&p);
    const char *dirs[] = {other};
    ParseOptions options = {dirs, 1};
    p = parse_path(folder, "far_main.net", &options);
    CU_ASSERT_PTR_NOT_NULL(p.ast);
    drop(&p);
    p = parse_path(folder, "loop.net", NULL);
    expect_code(&p, "E0012");
    StrBuf shown = sb_new(p.arena);
    diag_render_to(p.diag, &shown, DIAG_TEXT, false);
    CU_ASSERT_PTR_NOT_NULL(strstr(shown.text, "in file included from "));
    drop(&p);
    p = parse_path(folder, "deep0.net", NULL);
    expect_code(&p, "E0013");
    drop(&p);
    p = parse_path(folder, "deep3.net", NULL);
    CU_ASSERT_PTR_NOT_NULL(p.ast);
    drop(&p);
    p = parse_path(folder, "broken.net", NULL);
    expect_code(&p, "E0001");
    drop(&p);
    p = parse_path(folder, "absent.net", NULL);
    expect_code(&p, "E0010");
    drop(&p);
    snprintf(other, sizeof other, "rm -rf '%s'", folder);
    CU_ASSERT_EQUAL(system(other), 0);
}

static void include_paths_stay_inside(void) {
    error_in("include \"/etc/passwd\"", "E0014", 1, 9);
    error_in("include \"../x.net\"", "E0014", 1, 9);
    error_in("include \"a/../x.net\"", "E0014", 1, 9);
    error_in("include \"..\"", "E0014", 1, 9);
    error_in("include \"\"", "E0014", 1, 9);
    error_in("include \"..x.net\"", "E0011", 1, 9);
    error_in("include \"/\"", "E0014", 1, 9);
}

/* ---- explain ---- */
static void codes_are_sorted_and_have_texts(void) {
    int count;
    const DiagCode *all = explain_codes(&count);

    CU_ASSERT_TRUE(count >= 17);
    for (int i = 0; i < count; i++) {
        CU_ASSERT_TRUE(strlen(all[i].code) == 5 && all[i].title[0] && all[i].text[0]);
        CU_ASSERT_TRUE(!all[i].wrong == !all[i].right);
        CU_ASSERT_TRUE(i == 0 || strcmp(all[i - 1].code, all[i].code) < 0);
        CU_ASSERT_PTR_EQUAL(explain_find(all[i].code), &all[i]);
    }
    CU_ASSERT_PTR_NOT_NULL(explain_find("e1"));
    CU_ASSERT_PTR_NULL(explain_find("E9999"));
    CU_ASSERT_PTR_NULL(explain_find("conv"));
    CU_ASSERT_PTR_NULL(explain_find(""));
}

SUITE_MAIN(TEST(hints), TEST(statements_have_their_parts), TEST(numbers_keep_value_unit_and_text),
           TEST(soft_words_are_names_elsewhere), TEST(expressions_parse_alone),
           TEST(printed_text_parses_to_the_same_tree), TEST(different_trees_differ),
           TEST(broken_bytes_are_located),
           TEST(marks_and_line_ends_of_other_systems_are_accepted), TEST(depth_is_limited),
           TEST(length_is_not), TEST(rubbish_ends_soon), TEST(mutations_never_crash),
           TEST(includes_are_followed_once), TEST(include_paths_stay_inside),
           TEST(codes_are_sorted_and_have_texts))
