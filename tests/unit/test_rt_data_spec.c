/* test_rt_data_spec.c: how a spec names sources with arguments, and what it is told when wrong. */
#include <string.h>

#include "front/model.h"
#include "front/parse.h"
#include "suite.h"

static float amounts[RT_AUGMENT_COUNT]; /* of the last spec taken */

/* The name that `data { train = SOURCE }` becomes, "" when the spec is refused (*code says why). */
static const char *source(const char *text, const char **code) {
    static char uri[300];
    static char kept[16];
    Arena *a = arena_new();
    Sources *s = sources_new(a);
    DiagCtx *d = diag_ctx_new(a, s);
    const char *spec = arena_printf(a,
                                    "net N { input x: f32[1, 1, 20]\ninput t: class[2]\n"
                                    "f: dense(2)\nloss l: cross_entropy(f, t)\n"
                                    "data { train = %s } }\n",
                                    text);
    Ast *file = parse_text(a, s, d, "t.net", spec, strlen(spec), NULL);
    Model *m = file ? model_build(a, d, file, &(ModelOptions){.sources = s}) : NULL;
    int n;
    Diag *const *all = diag_sorted(d, &n);
    kept[0] = 0;
    for (int i = 0; i < n && !kept[0]; i++)
        if (all[i]->severity == SEVERITY_ERROR)
            snprintf(kept, sizeof kept, "%s", all[i]->code);
    *code = kept;
    snprintf(uri, sizeof uri, "%s", m && m->train.train_data ? m->train.train_data : "");
    if (m)
        memcpy(amounts, m->input[0].prep.augment, sizeof amounts);
    arena_free(a);
    return uri;
}

static void augment(void) {
    const char *code;
    CU_ASSERT_STRING_EQUAL(source("ts(\"a\"); augment = [translate(2), zoom(0.9, 1.1), rotate(15), "
                                  "shear(5), contrast(20%), colour(0.1)]; flip = yes",
                                  &code),
                           "ts:a");
    CU_ASSERT(amounts[RT_AUGMENT_TRANSLATE] == 2 && amounts[RT_AUGMENT_SCALE_LO] == 0.9f &&
              amounts[RT_AUGMENT_SCALE_HI] == 1.1f && amounts[RT_AUGMENT_ROTATE] == 15 &&
              amounts[RT_AUGMENT_SHEAR] == 5 && amounts[RT_AUGMENT_CONTRAST] == 0.2f &&
              amounts[RT_AUGMENT_COLOUR] == 0.1f && amounts[RT_AUGMENT_BRIGHTNESS] == 0);
    source("ts(\"a\"); augment = [random_crop(4), elastic(34, 4), time_shift(0.1), gain(6), "
           "pca_colour(0.1, values = [2, 3, 4], vectors = [1, 2, 3, 4, 5, 6, 7, 8, 9])]",
           &code);
    CU_ASSERT(amounts[RT_AUGMENT_CROP] == 5 && amounts[RT_AUGMENT_ELASTIC] == 34 &&
              amounts[RT_AUGMENT_SIGMA] == 4 && amounts[RT_AUGMENT_SHIFT] == 0.1f &&
              amounts[RT_AUGMENT_GAIN] == 6 && amounts[RT_AUGMENT_PCA] == 0.1f &&
              amounts[RT_AUGMENT_PCA_MATRIX] == 2 && amounts[RT_AUGMENT_PCA_MATRIX + 5] == 24);
    source("ts(\"a\"); augment = [scale_jitter(256, 512), random_crop(0)]", &code);
    CU_ASSERT(!*code && amounts[RT_AUGMENT_SHORT_LO] == 256 &&
              amounts[RT_AUGMENT_SHORT_HI] == 512 && amounts[RT_AUGMENT_CROP] == 1);
    source("ts(\"a\"); augment = [random_area(8%, 100%), pca_colour(0.1)]", &code);
    CU_ASSERT(!*code && amounts[RT_AUGMENT_AREA_LO] == 0.08f && amounts[RT_AUGMENT_AREA_HI] == 1 &&
              amounts[RT_AUGMENT_PCA_MATRIX] == 0);
    static const char *const wrong[][2] = {{"random_crop(-1)", "E0303"},
                                           {"random_crop(1.5)", "E0303"},
                                           {"random_area(50%, 150%)", "E0303"},
                                           {"random_area(0, 50%)", "E0303"},
                                           {"[random_area(8%, 1), random_crop(4)]", "E0303"},
                                           {"scale_jitter(512, 256)", "E0303"},
                                           {"scale_jitter(20.5, 30)", "E0303"},
                                           {"elastic(34, 65)", "E0303"},
                                           {"pca_colour(0.1, values = [1, 2, 3])", "E0111"},
                                           {"pca_colour(-1)", "E0303"},
                                           {"gain(100)", "E0303"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char text[100];
        snprintf(text, sizeof text, "ts(\"a\"); augment = %s", wrong[i][0]);
        source(text, &code);
        if (strcmp(code, wrong[i][1]) != 0)
            printf("%s: %s\n", text, code);
        CU_ASSERT_STRING_EQUAL(code, wrong[i][1]);
    }
    source("ts(\"a\"); augment = rotate(200)", &code);
    CU_ASSERT_STRING_EQUAL(code, "E0303");
    source("ts(\"a\"); augment = zoom(1.1, 0.9)", &code);
    CU_ASSERT_STRING_EQUAL(code, "E0303");
    source("ts(\"a\"); augment = [rotat(2)]", &code);
    CU_ASSERT_STRING_EQUAL(code, "E0106");
    source("ts(\"a\"); augment = 3", &code);
    CU_ASSERT_STRING_EQUAL(code, "E0106");
}

static void named(void) {
    static const char *const pairs[][2] = {
        {"csv(\"a.csv\")", "csv:a.csv"},
        {"csv(\"a&b.csv\", label = last, hold = 20%)", "csv:a&b.csv?hold=20&label=last"},
        {"csv(\"a.csv\", label = \"kind\", fold = 2)", "csv:a.csv?fold=2/10&label=kind"},
        {"csv(\"a.csv\", label = 3, fold = 5, folds = 5)", "csv:a.csv?fold=5/5&label=3"},
        {"ts(\"d/GunPoint\")", "ts:d/GunPoint"},
        {"npy(\"x.npz\")", "npy:x.npz"},
        {"wav(\"d\", window = 400, hop = 160, hold = \"*_theo_*\")",
         "wav:d?hold=*_theo_*&window=400&hop=160"},
        {"text(\"p.data\", alphabet = \"acgu\")", "text:p.data?alphabet=acgu"},
        {"wav(\"d\", scale = linear, low = 50, high = 4000)",
         "wav:d?scale=linear&low=50&high=4000"},
        {"cifar100(\"d\")", "cifar100:d"},
        {"cifar100(\"d\", labels = coarse)", "cifar100:d?labels=coarse"},
        {"maps(\"d\", ignore = 0, hold = 10%)", "maps:d?hold=10&ignore=0"},
        {"\"a\"; mean = per_pixel", "a"},
        {"\"a\"; mean = \"m.npy\"", "a"},
        {"\"a?b=c\"", "a?b=c"}};
    const char *code;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        const char *got = source(pairs[i][0], &code);
        if (strcmp(got, pairs[i][1]) != 0)
            printf("%s: '%s' %s\n", pairs[i][0], got, code);
        CU_ASSERT_STRING_EQUAL(got, pairs[i][1]);
    }
}

static void refused(void) {
    static const char *const pairs[][2] = {{"csv(\"a\", label = 0)", "E0303"},
                                           {"csv(\"a\", hold = 120%)", "E0303"},
                                           {"csv(\"a\", hold = \"x&fold=1/2\")", "E0111"},
                                           {"csv(\"a?label=x\")", "E0111"},
                                           {"csv(3)", "E0111"},
                                           {"ts(\"a\", fold = 3, folds = 2)", "E0303"},
                                           {"wav(\"a\", window = 8)", "E0303"},
                                           {"wav(\"a\", scale = bark)", "E0106"},
                                           {"cifar100(\"a\", labels = all)", "E0106"},
                                           {"maps(\"a\", ignore = 256)", "E0303"},
                                           {"\"a\"; mean = \"\"", "E0111"},
                                           {"\"a\"; mean = per_picture", "E0103"},
                                           {"wave(\"a\")", "E0106"}};
    const char *code;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        const char *got = source(pairs[i][0], &code);
        CU_ASSERT_STRING_EQUAL(got, "");
        if (strcmp(code, pairs[i][1]) != 0)
            printf("%s: %s\n", pairs[i][0], code);
        CU_ASSERT_STRING_EQUAL(code, pairs[i][1]);
    }
    CU_ASSERT_STRING_EQUAL(source("csv(\"a\", labels = 1)", &code), "");
}

SUITE_MAIN(TEST(augment), TEST(named), TEST(refused))
