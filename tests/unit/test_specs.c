/* test_specs.c: every net and every variant in specs/ against its published size, to the unit; a
 * spec without a row fails.
 *
 * Known numbers: the papers named at the head of each spec, and for ResNet and SqueezeNet the
 * weights that their authors or torchvision publish.  GoogLeNet's table prints counts that do not
 * follow from its shapes; the sums here are from the shapes.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdlib.h>
#include <time.h>

#include "front/model.h"
#include "front/parse.h"
#include "spec_net.h"
#include "suite.h"

typedef struct Row {
    const char *file, *name; /* a net, "Family.variant", or NULL: the only net */
    int64_t trainable, frozen;
    double macs; /* multiply-adds of one image, forward; 0: not stated anywhere */
} Row;

static const Row table[] = {
    {"aalto.net", "Conv", 11665, 0, 176400 + 705600 + 7840},
    {"aalto.net", "Full", 210240, 0, 210240},
    {"alexnet.net", "OneColumn", 61100840, 0, 714188480},
    {"alexnet.net", "Halves.two", 60965224, 0, 0},
    {"alexnet.net", "Halves.whole", 62378344, 0, 0},
    {"cifar_subset.net", NULL, 269722, 0, 0},
    {"bcd.net", NULL, 2797010, 0, 784 * 1000 + 2 * 1000 * 1000 + 10000},
    {"dbn.net", NULL, 24 * 82 + 60 * 601 + 5410, 0, 24 * 400 * 81 + 60 * 36 * 600 + 5400},
    {"distorted.net", "LeNetPlain", 80202, 0, 0},
    {"distorted.net", "LeNetElastic", 80202, 0, 0},
    {"distorted.net", "LeNet5Elastic", 60000, 840, 0},
    {"distorted.net", "LeNet5Affine", 60000, 840, 0},
    {"fcn.net", "FCN32s", 134346581, 1806336, 0},
    {"fcn.net", "FCN16s", 134364410, 451584, 0},
    {"fcn.net", "FCN8s", 134376863, 112896, 0},
    {"fusion.net", "Fusion.single", 73908071, 0, 0},
    {"fusion.net", "Fusion.early", 74221703, 0, 0},
    {"fusion.net", "Fusion.late", 125288295, 0, 0},
    {"fusion.net", "Fusion.slow", 75511751, 0, 0},
    {"fusion.net", "TwoStreams", 129035495, 0, 0},
    {"gabor.net", "Gabor", 7850, 1936, 0},
    {"gabor.net", "Wavelet", 9810, 1280, 0},
    {"googlenet.net", "GoogLeNet", 6998552, 0, 0},
    {"googlenet.net", "GoogLeNetHeads", 6998552 + 3188840 + 3190888, 0, 0},
    {"inception_resnet.net", "InceptionResNetV1", 22756328, 0, 0},
    {"inception_resnet.net", "InceptionResNetV2", 32433928, 0, 0},
    {"inception_resnet.net", "V2Published", 55843464, 0, 0},
    {"inception_v4.net", "InceptionV4", 42679816, 0, 0},
    {"heads.net", "F5.softmax", 1290, 78912, 0},
    {"heads.net", "F5.svm", 1290, 78912, 0},
    {"heads.net", "S4.softmax", 5130, 13248, 0},
    {"heads.net", "S4.svm", 5130, 13248, 0},
    {"heads.net", "Head", 1290, 78912, 0},
    {"heads.net", "HeadS4", 5130, 13248, 0},
    {"hyper.net", NULL, 86842, 0, 0},
    {"lenet.net", "LeNet", 80202, 0, 0},
    {"lenet_300_100.net", "LeNet300", 266610, 0, 266200},
    {"robust.net", "Robust", 20522, 0, 337024},
    {"lenet5.net", NULL, 60000, 840, 0},
    {"lstm.net", "Rows", 4 * 128 * (28 + 128 + 2) + 1290, 0, 28 * 512 * (28 + 128) + 1280},
    {"lstm.net", "RowsGRU", 3 * 128 * (28 + 128 + 2) + 1290, 0, 28 * 384 * (28 + 128) + 1280},
    {"lstm.net", "Strands", 32 * 37 + 2 * 64 * (32 + 16 + 2) + 66, 0,
     57 * 32 * 36 + 2 * 19 * 64 * (32 + 16) + 64},
    {"motif.net", NULL, 32 * 37 + 66, 0, 57 * 32 * 36 + 64},
    {"lenet5_sdlm.net", NULL, 60000, 840, 0},
    {"multistage.net", "Stages.both", 582886, 0, 0},
    {"multistage.net", "Stages.second", 567206, 0, 0},
    {"one_layer.net", "Only.c1", 416, 79786, 0},
    {"one_layer.net", "Only.c3", 12832, 67370, 0},
    {"one_layer.net", "Only.f5", 65664, 14538, 0},
    {"one_layer.net", "Only.f6", 1290, 78912, 0},
    {"papyan.net", "Soft", 16874, 0, 0},
    {"papyan.net", "Hard", 16826, 0, 0},
    {"papyan.net", "Relu", 16826, 0, 0},
    {"pipeline.net", "Pooling.average", 755494, 0, 0},
    {"pipeline.net", "Pooling.max", 755494, 0, 0},
    {"pipeline.net", "Pooling.lp", 755494, 0, 0},
    {"pipeline.net", "Nonlinearity.both", 755494, 0, 0},
    {"pipeline.net", "Nonlinearity.no_abs", 755494, 0, 0},
    {"pipeline.net", "Nonlinearity.no_norm", 755494, 0, 0},
    {"resnet.net", "Depth.18", 11689512, 0, 1814073344},
    {"resnet.net", "Depth.34", 21797672, 0, 3663761408},
    {"resnet.net", "Depth.50", 25557032, 0, 4089184256},
    {"resnet.net", "Depth.101", 44549160, 0, 7801405440},
    {"resnet.net", "Depth.152", 60192808, 0, 11513626624},
    {"fast_style.net", NULL, 28270, 0, 0},
    {"style.net", NULL, 12944960, 0, 0},
    {"style_train.net", "Style", 36864, 25644, 0},
    {"style_train.net", "StyleTrain", 28270, 25644 + 36864, 0},
    {"resnet_cifar.net", "Layers.20", 269722, 0, 0},
    {"resnet_cifar.net", "Layers.32", 464154, 0, 0},
    {"resnet_cifar.net", "Layers.44", 658586, 0, 0},
    {"resnet_cifar.net", "Layers.56", 853018, 0, 0},
    {"resnet_cifar.net", "Layers.110", 1727962, 0, 0},
    {"sliding.net", "Sliding", 80202, 0, 0},
    {"series.net", "UCR.GunPoint", 576 + 40960 + 24576 + 512 + 130, 0, 150 * 66112 + 128},
    {"series.net", "UCR.ItalyPowerDemand", 576 + 40960 + 24576 + 512 + 130, 0, 24 * 66112 + 128},
    {"series.net", "UCR.ArrowHead", 576 + 40960 + 24576 + 512 + 195, 0, 251 * 66112 + 192},
    {"spoken_digits.net", "TDNN", 80 + 19200 + 27648 + 36864 + 49152 + 896 + 2570, 0,
     64 * (19200 + 27648) + 32 * (36864 + 49152) + 2560},
    {"spoken_digits.net", "Spectrogram", 2 + 216 + 10368 + 27648 + 55296 + 464 + 970, 0,
     2560 * 216 + 640 * 10368 + 160 * 27648 + 40 * 55296 + 960},
    {"squeezenet.net", "SqueezeNet", 1235496, 0, 0},
    {"squeezenet.net", "SqueezeNet10", 1248424, 0, 0},
    {"tied.net", "Dense", 204314, 0, 604672},
    {"tied.net", "Conv", 31787, 0, 266560},
    {"vgg.net", "Table1.A", 132863336, 0, 0},
    {"vgg.net", "Table1.B", 133047848, 0, 0},
    {"vgg.net", "Table1.C", 133638952, 0, 0},
    {"vgg.net", "Table1.D", 138357544, 0, 15470264320},
    {"vgg.net", "Table1.E", 143667240, 0, 0},
    {"vgg_m.net", NULL, 102908520, 0, 0},
    {"volume.net", "VoxNet", 921736, 0, 4000.0 * 14 * 14 * 14 + 27648.0 * 12 * 12 * 12 + 889856},
    {"volume.net", "C3D", 79991015, 0, 38548959232},
    {"xor.net", "XOR", 12, 0, 8},
    {"xor.net", "Fold", 44, 0, 32},
    {"zfnet.net", NULL, 62357608, 0, 0},
    {"zfnet.net", "Table3.base", 62357608, 0, 0},
    {"zfnet.net", "Table3.no34", 14208 + 614656 + 590080 + 37752832 + 16781312 + 4097000, 0, 0},
    {"zfnet.net", "Table3.no7", 62357608 - 16781312, 0, 0},
    {"zfnet.net", "Table3.no67", 3726464 + 9216 * 1000 + 1000, 0, 0},
    {"zfnet.net", "Table3.no3467", 14208 + 614656 + 590080 + 9216 * 1000 + 1000, 0, 0},
    {"zfnet.net", "Table3.fc2048", 3726464 + 9217 * 2048 + 2049 * 2048 + 2049 * 1000, 0, 0},
    {"zfnet.net", "Table3.fc8192", 3726464 + 9217 * 8192 + 8193 * 8192 + 8193 * 1000, 0, 0},
    {"zfnet.net", "Table3.wide345", 107627624, 0, 0},
    {"zfnet.net", "Table3.both", 11247744 + 18433 * 8192 + 8193 * 8192 + 8193 * 1000, 0, 0},
};
enum { ROWS = sizeof table / sizeof *table };

static const char *specs_dir(Arena *a) {
    const char *root = getenv("NETC_SOURCE_DIR");
    return arena_printf(a, "%s/specs", root ? root : "../..");
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void row_counts(const Row *row) {
    Arena *a = arena_new();
    Sources *s = sources_new(a);
    DiagCtx *d = diag_ctx_new(a, s);
    double start = seconds();
    Ast *file = parse_file(a, s, d, arena_printf(a, "%s/%s", specs_dir(a), row->file), NULL);
    ModelOptions opt = {.net = row->name, .sources = s, .forward_only = true};
    Model *m = file ? model_build(a, d, file, &opt) : NULL;
    double took = seconds() - start;
    if (!m || diag_warnings(d))
        diag_render(d, stderr, DIAG_TEXT, false);
    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    CU_ASSERT_EQUAL(diag_warnings(d), 0);
    if (m->trainable != row->trainable || m->frozen != row->frozen ||
        (row->macs > 0 && m->macs != row->macs))
        printf("\n%s %s: %lld parameters, %lld frozen, %.0f multiply-adds\n", row->file,
               row->name ? row->name : "", (long long)m->trainable, (long long)m->frozen, m->macs);
    CU_ASSERT_EQUAL(m->trainable, row->trainable);
    CU_ASSERT_EQUAL(m->frozen, row->frozen);
    if (row->macs > 0)
        CU_ASSERT_EQUAL(m->macs, row->macs);
    if (took > 0.3) /* a tenth of a second is the aim; sanitizers and busy machines take longer */
        printf("\n%s %s: %.2f s\n", row->file, row->name ? row->name : "", took);
    CU_ASSERT_TRUE(took < 3);
    arena_free(a);
}

static void counts(void) {
    for (int i = 0; i < ROWS; i++)
        row_counts(&table[i]);
}

static bool has_row(const char *file, const char *name, int names) {
    for (int i = 0; i < ROWS; i++)
        if (strcmp(table[i].file, file) == 0 &&
            (table[i].name ? strcmp(table[i].name, name) == 0 : names == 1 || !strchr(name, '.')))
            return true;
    return false;
}

static void file_is_listed(Arena *a, const char *file) {
    Sources *s = sources_new(a);
    DiagCtx *d = diag_ctx_new(a, s);
    Ast *ast = parse_file(a, s, d, arena_printf(a, "%s/%s", specs_dir(a), file), NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(ast);
    const char **name;
    int n = model_names(a, ast, &name);
    for (int i = 0; i < n; i++) {
        bool family = false; /* a net with variants is counted through them */
        for (int j = 0; j < n; j++)
            family = family || (!strchr(name[i], '.') && strchr(name[j], '.'));
        if (!family && !has_row(file, name[i], n) && !spec_included(a, ast, name[i])) {
            printf("\nno row for %s %s\n", file, name[i]);
            CU_FAIL("a net without a row");
        }
    }
}

static void all_listed(void) {
    Arena *a = arena_new();
    DIR *dir = opendir(specs_dir(a));
    CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
    int files = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        size_t length = strlen(e->d_name);
        if (length > 4 && strcmp(e->d_name + length - 4, ".net") == 0) {
            file_is_listed(a, e->d_name);
            files++;
        }
    }
    closedir(dir);
    CU_ASSERT_TRUE(files >= 10);
    arena_free(a);
}

SUITE_MAIN(TEST(counts), TEST(all_listed))
