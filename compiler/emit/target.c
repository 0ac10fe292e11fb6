/* target.c: the table of machines (see target.h).
 *
 * Fixed targets have fixed cache sizes, so that the same spec gives the same object wherever it is
 * compiled; "native" reads the host's from /sys.  Registers and widths: Intel SDM vol. 1 (SSE,
 * AVX2: 16 registers; AVX-512: 32), Arm ARM (NEON: 32 registers of 128 bits).
 */
#define _GNU_SOURCE
#include "emit/target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emit/emit.h"
#include "emit/machine.h"

const char *const target_names[] = {"native",    "x86-64-v2", "x86-64-v3",
                                    "x86-64-v4", "aarch64",   NULL};

/* A machine of the kind that each level names, for the cost model: the same plan everywhere. */
#define SPEED(gflops)                                                                              \
    {.flops = (gflops) * 1e9, .l2 = 60e9, .l3 = 30e9, .dram = 40e9, .dram_one = 20e9, .threads = 4}

static const Target fixed[] = {
    {.name = "x86-64-v2", .triple = "x86_64-unknown-linux-gnu", .cpu = "x86-64-v2", .features = "",
     .vector = 4, .registers = 16, .l1 = 32 << 10, .l2 = 512 << 10, .l3 = 8 << 20,
     .speed = SPEED(25)},
    {.name = "x86-64-v3", .triple = "x86_64-unknown-linux-gnu", .cpu = "x86-64-v3", .features = "",
     .vector = 8, .registers = 16, .fma = true, .l1 = 32 << 10, .l2 = 512 << 10, .l3 = 8 << 20,
     .speed = SPEED(100)},
    {.name = "x86-64-v4", .triple = "x86_64-unknown-linux-gnu", .cpu = "x86-64-v4", .features = "",
     .vector = 16, .registers = 32, .fma = true, .broadcast_load = true, .l1 = 32 << 10,
     .l2 = 1 << 20, .l3 = 16 << 20, .speed = SPEED(120)},
    {.name = "aarch64", .triple = "aarch64-unknown-linux-gnu", .cpu = "generic",
     .features = "+neon", .vector = 4, .registers = 32, .fma = true, .l1 = 32 << 10,
     .l2 = 512 << 10, .l3 = 8 << 20, .speed = SPEED(40)},
};

/* Is "+name" in LLVM's comma-separated feature list? */
static bool has(const char *features, const char *name) {
    size_t n = strlen(name);
    for (const char *p = features; (p = strstr(p, name)); p += n)
        if (p > features && p[-1] == '+' && (p[n] == ',' || p[n] == 0))
            return true;
    return false;
}

static bool read_word(char *buf, size_t n, int index, const char *file) {
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, file);
    FILE *f = fopen(path, "r");
    bool ok = f && fgets(buf, (int)n, f);
    if (f)
        fclose(f);
    return ok;
}

/* Bytes of the data cache of this level of the first processor, or `fallback`. */
static int64_t cache_bytes(int level, int64_t fallback) {
    char text[32];
    for (int i = 0; i < 8 && read_word(text, sizeof text, i, "level"); ++i) {
        if (strtol(text, NULL, 10) != level || !read_word(text, sizeof text, i, "type") ||
            strncmp(text, "Instruction", 11) == 0 || !read_word(text, sizeof text, i, "size"))
            continue;
        char *end;
        int64_t bytes = strtoll(text, &end, 10);
        bytes *= *end == 'K' ? 1 << 10 : *end == 'M' ? 1 << 20 : 1;
        if (bytes >= 4096 && bytes <= 1 << 30)
            return bytes;
    }
    return fallback;
}

static void find_native(Arena *keep, Target *out) {
    char cpu[64], features[8192];
    emit_host_cpu(cpu, sizeof cpu, features, sizeof features);
#if defined(__aarch64__)
    *out = (Target){.name = "native", .triple = "aarch64-unknown-linux-gnu", .cpu = "generic",
                    .vector = 4, .registers = 32, .fma = true};
    (void)has;
#else
    bool avx512 = has(features, "avx512f") && has(features, "avx512vl") &&
                  has(features, "avx512bw") && has(features, "avx512dq");
    bool avx2 = has(features, "avx2") && has(features, "fma");
    *out = (Target){.name = "native",
                    .triple = "x86_64-unknown-linux-gnu",
                    .cpu = "x86-64",
                    .vector = avx512 ? 16 : avx2 ? 8 : 4,
                    .registers = avx512 ? 32 : 16,
                    .fma = has(features, "fma"),
                    .broadcast_load = avx512,
                    .bf16_dot = avx512 && has(features, "avx512bf16")};
#endif
    /* Zen 4 does 512 bits in two steps: twice as many blocks of eight images share out better. */
    if (out->vector == 16 && strcmp(cpu, "znver4") == 0)
        out->lanes = 8;
    out->features = arena_strdup(keep, features);
    out->l1 = cache_bytes(1, 32 << 10);
    out->l2 = cache_bytes(2, 512 << 10);
    out->l3 = cache_bytes(3, 8 << 20);
    out->speed = (struct Speed)SPEED(out->vector == 16 ? 120 : out->vector == 8 ? 100 : 25);
    out->speed.threads = machine_threads();
}

bool target_find(Arena *keep, const char *name, Target *out, char *why, size_t n) {
    if (strcmp(name, "native") == 0) {
        find_native(keep, out);
        return true;
    }
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; ++i)
        if (strcmp(name, fixed[i].name) == 0) {
            *out = fixed[i];
            return true;
        }
    int at = snprintf(why, n, "unknown target '%s'; known are", name);
    for (int i = 0; target_names[i] && at > 0 && (size_t)at < n; ++i)
        at += snprintf(why + at, n - (size_t)at, "%s %s", i ? "," : "", target_names[i]);
    return false;
}

bool target_runs_here(const Target *t) {
    static const char *const v2[] = {"sse4.2", "ssse3", "popcnt", "cx16", NULL};
    static const char *const v3[] = {"avx2", "fma", "bmi", "bmi2", "f16c", "lzcnt", "movbe", NULL};
    static const char *const v4[] = {"avx512f",  "avx512vl", "avx512bw",
                                     "avx512dq", "avx512cd", NULL};
    const char *const *need[] = {v2, v3, v4};
    if (strcmp(t->name, "native") == 0)
        return true;
#if defined(__aarch64__)
    (void)need;
    return strcmp(t->name, "aarch64") == 0;
#else
    char cpu[64], features[8192];
    emit_host_cpu(cpu, sizeof cpu, features, sizeof features);
    if (strncmp(t->name, "x86-64-v", 8) != 0)
        return false;
    for (int level = 2; level <= t->name[8] - '0'; ++level)
        for (int i = 0; need[level - 2][i]; ++i)
            if (!has(features, need[level - 2][i]))
                return false;
    return true;
#endif
}
