/* test_attack.c: adversarial training where the answer is known.
 *
 * A linear net of two classes: the loss at x' grows along sign(w_other - w_true) alone, so one long
 * step ends in the worst corner of the box and the attacked loss is a closed form.  A net with
 * batch statistics and dropout: the gradient at the image against central differences, of the
 * losses (pgd) and of KL(p(x) || p(x')) (trades), and trades' gradient at the weights likewise.  An
 * eps of 0 gives the bits of plain training, equal pictures an entropy of exactly 0, running
 * statistics are the clean pictures', and threads change nothing.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "built.h"
#include "rt_attack.h"
#include "suite.h"

enum { N = 6, SIDE = 6, PIXELS = SIDE * SIDE };

static void build(Built *b, const char *layers, const char *train) {
    char source[1024];
    snprintf(source, sizeof source,
             "net T {\n input image: f32[1, 6, 6]\n input kind: class[%d]\n %s\n"
             " loss ce: cross_entropy(f, kind)\n"
             " data { pixels = range(-1, 3); mean = 0.5; std = 2 }\n"
             " train { optimizer = sgd(lr = 1); batch = 6; %s }\n}\n",
             strstr(layers, "dense(2)") ? 2 : 3, layers, train);
    built_make(b, &(BuiltHow){.source = source, .no_look = true});
}

static netrt *opened(const Built *b, int threads) {
    netrt *m = NULL;
    netrt_options o = {threads, N, 5};
    rt_error err = {0};
    if (netrt_open(b->rt, &o, &m, &err))
        printf("%s\n", err.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    return m;
}

/* Pixels of 0 to 1, whose numbers are -.75 + 2 pixel; some are black, some white. */
static float image[N * PIXELS];
static int32_t label[N];

static float number_of(double pixel) {
    return (float)(-0.75 + 2 * pixel);
}

static void make_data(int classes) {
    unsigned x = 12345;
    for (int i = 0; i < N * PIXELS; i++) {
        x = x * 1664525u + 1013904223u;
        double p = (double)(x >> 8) / (1 << 24);
        image[i] = number_of(p < 0.1 ? 0 : p > 0.9 ? 1 : p);
    }
    for (int i = 0; i < N; i++)
        label[i] = i % classes;
}

static void point(netrt *m) {
    m->frame.input[0] = image;
    m->frame.label[0] = m->frame.label[1] = label;
    netrt_set_sgd(m, 1, 0, 0);
    m->frame.step = 3;
}

/* Sets every parameter to numbers of its own. */
static void spread(netrt *m) {
    float w[4096];
    for (int i = 0; i < m->model->nparams; i++) {
        const rt_param *p = &m->model->param[i];
        int64_t n = rt_param_count(p);
        for (int64_t k = 0; k < n && !(p->flags & RT_PARAM_FROZEN); k++)
            w[k] = 0.3f * sinf((float)(7 * k + 3 * i + 1));
        if (!(p->flags & RT_PARAM_FROZEN))
            rt_param_write(m, i, w);
    }
}

/* ---- the linear net ---- */

static void linear_is_known(void) {
    const double eps = 0.15;
    Built b;
    rt_error err = {0};
    build(&b, "f: dense(2)", "adversarial = pgd(0.15, step = 1, steps = 1)");
    make_data(2);
    netrt *m = opened(&b, 1);
    spread(m);
    point(m);
    float w[2 * PIXELS], bias[2];
    rt_param_read(m, rt_find_param(m->model, "f.weight"), w);
    rt_param_read(m, rt_find_param(m->model, "f.bias"), bias);
    double want = 0, got, low = number_of(0), high = number_of(1);
    CU_ASSERT_EQUAL_FATAL(rt_attack_run(m, N, &err), 0);
    for (int i = 0; i < N; i++) {
        int t = label[i];
        double gap = (double)bias[1 - t] - (double)bias[t];
        for (int k = 0; k < PIXELS; k++) {
            double d = (double)w[(1 - t) * PIXELS + k] - (double)w[t * PIXELS + k];
            double x = (double)image[i * PIXELS + k] + (d > 0 ? 2 * eps : -2 * eps);
            x = x < low ? low : x > high ? high : x;
            CU_ASSERT_DOUBLE_EQUAL((double)m->attack->x[i * PIXELS + k], x, 1e-6);
            gap += d * x;
        }
        want += log1p(exp(gap)) / (double)N;
    }
    rt_attack_done(m);
    CU_ASSERT_EQUAL_FATAL(rt_step(m, N, &got, &err), 0);
    CU_ASSERT_DOUBLE_EQUAL(got, want, 1e-5 * want);
    CU_ASSERT_PTR_EQUAL(m->frame.input[0], image);
    netrt_close(m);
    built_free(&b);
}

/* ---- gradients ---- */

static const char smooth[] = "c: conv(5, 3x3) -> bn -> tanh -> dropout(40%)\n f: dense(3)";

static double attack_loss(netrt *m) {
    rt_error err = {0};
    netrt_run(m, RT_ATTACK, "attack", -1, N, &err);
    CU_ASSERT_EQUAL_FATAL(err.code, 0);
    return rt_losses(m, RT_ATTACK, N, NULL);
}

static void image_gradient(netrt *m, float *x) {
    float g[PIXELS];
    int tensor = m->model->program[RT_ATTACK].image_diff[0], loud = 0;
    CU_ASSERT_FATAL(tensor >= 0);
    for (int i = 0; i < N; i++) {
        for (int k = i; k < PIXELS; k += 7) {
            float *at = &x[i * PIXELS + k], old = *at;
            double side[2];
            for (int s = 0; s < 2; s++) {
                *at = old + (s ? -1e-2f : 1e-2f);
                side[s] = attack_loss(m);
            }
            *at = old;
            attack_loss(m);
            rt_tensor_read(m, RT_ATTACK, tensor, i, g);
            double numeric = (side[0] - side[1]) / 2e-2;
            CU_ASSERT_DOUBLE_EQUAL(numeric, (double)g[k], 2e-4 + 0.01 * fabs(numeric));
            loud += fabs(numeric) > 5e-3;
        }
    }
    CU_ASSERT(loud > 10); /* not all nothing */
}

static void gradient_of_losses(void) {
    Built b;
    build(&b, smooth, "adversarial = pgd(0.1)");
    make_data(3);
    netrt *m = opened(&b, 2);
    spread(m);
    point(m);
    float before[5], after[5];
    int mean = -1;
    for (int i = 0; i < m->model->nparams; i++)
        mean = strstr(m->model->param[i].name, "running_mean") ? i : mean;
    CU_ASSERT_FATAL(mean >= 0);
    rt_param_read(m, mean, before);
    image_gradient(m, image);
    rt_param_read(m, mean, after);
    CU_ASSERT(memcmp(before, after, sizeof before) == 0);
    netrt_close(m);
    built_free(&b);
}

/* trades' step at fixed pictures: losses, and one number of a parameter moved by h. */
static double loss_at(netrt *m, int param, int64_t k, double h) {
    float w[512];
    rt_error err = {0};
    rt_param_read(m, param, w);
    float old = w[k];
    w[k] = (float)((double)old + h);
    rt_param_write(m, param, w);
    netrt_set_sgd(m, 0, 0, 0);
    netrt_run(m, RT_TRAIN, "step", -1, N, &err);
    CU_ASSERT_EQUAL_FATAL(err.code, 0);
    w[k] = old;
    rt_param_write(m, param, w);
    return rt_losses(m, RT_TRAIN, N, NULL);
}

static void weight_gradient(netrt *m) {
    float w[512], moved[512];
    rt_error err = {0};
    for (int i = 0; i < m->model->nparams; i++) {
        if (!rt_param_trained(&m->model->param[i]))
            continue;
        double numeric[8];
        int64_t n = rt_param_count(&m->model->param[i]), k[8];
        for (int j = 0; j < 8; j++) {
            k[j] = (j * 13) % n;
            numeric[j] = (loss_at(m, i, k[j], 5e-3) - loss_at(m, i, k[j], -5e-3)) / 1e-2;
        }
        size_t bytes = (size_t)m->model->param_bytes;
        char *all = malloc(bytes);
        memcpy(all, m->param, bytes);
        rt_param_read(m, i, w);
        netrt_set_sgd(m, 1, 0, 0);
        netrt_run(m, RT_TRAIN, "step", -1, N, &err);
        rt_param_read(m, i, moved);
        memcpy(m->param, all, bytes);
        m->param_version++;
        free(all);
        for (int j = 0; j < 8; j++) {
            double got = (double)w[k[j]] - (double)moved[k[j]];
            CU_ASSERT_DOUBLE_EQUAL(numeric[j], got, 1e-3 + 0.01 * fabs(numeric[j]));
        }
    }
}

static void gradients_of_trades(void) {
    Built b;
    rt_error err = {0};
    static float changed[N * PIXELS];
    build(&b, smooth, "adversarial = trades(0.1, beta = 3)");
    make_data(3);
    netrt *m = opened(&b, 2);
    spread(m);
    point(m);
    CU_ASSERT_EQUAL_FATAL(rt_attack_clean(m, N, &err), 0);
    m->input1 = m->attack->target;
    CU_ASSERT_DOUBLE_EQUAL(attack_loss(m), 0, 0); /* equal pictures, equal masks */
    for (int i = 0; i < N * PIXELS; i++)
        changed[i] = image[i] + 0.9f * sinf((float)(i * i));
    m->frame.input[0] = changed;
    CU_ASSERT(attack_loss(m) > 1e-3);
    image_gradient(m, changed);
    m->frame.input[0] = image;
    m->input1 = changed;
    weight_gradient(m);
    netrt_set_sgd(m, 0, 0, 0);
    netrt_run(m, RT_TRAIN, "step", -1, N, &err);
    double total = rt_losses(m, RT_TRAIN, N, NULL);
    double ce = rt_loss_part(m, RT_TRAIN, N, 0) / (double)N;
    CU_ASSERT_DOUBLE_EQUAL(total, ce + 3 * rt_attack_entropy(m, N), 1e-5);
    netrt_close(m);
    built_free(&b);
}

/* ---- bits ---- */

/* mean: the running mean behind the first step */
static void steps(netrt *m, char *bytes, float mean[5]) {
    rt_error err = {0};
    double loss;
    spread(m);
    point(m);
    netrt_set_sgd(m, 0.1, 0, 0);
    for (int i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL_FATAL(rt_step(m, N, &loss, &err), 0);
        m->frame.step++;
        for (int k = 0; k < m->model->nparams && i == 0; k++)
            if (strstr(m->model->param[k].name, "running_mean"))
                rt_param_read(m, k, mean);
    }
    memcpy(bytes, m->param, (size_t)m->model->param_bytes);
}

static void same_bits(void) {
    static const char *const how[] = {"epochs = 1", "adversarial = pgd(0, step = 0.5, steps = 2)",
                                      "adversarial = trades(0.3, steps = 0)",
                                      "adversarial = pgd(0.2, steps = 3)",
                                      "adversarial = trades(0.2, steps = 3)"};
    char *plain = NULL, *one, *four;
    float mean[2][5];
    for (int i = 0; i < 5; i++) {
        Built b;
        build(&b, smooth, how[i]);
        make_data(3);
        size_t size = (size_t)b.rt->param_bytes;
        one = malloc(size);
        four = malloc(size);
        netrt *m = opened(&b, 1), *n = opened(&b, 4);
        steps(m, one, mean[i > 0]);
        steps(n, four, mean[i > 0]);
        CU_ASSERT(memcmp(one, four, size) == 0);
        if (i == 0)
            plain = one;
        else
            CU_ASSERT_EQUAL(memcmp(one, plain, size) == 0, i < 3);
        CU_ASSERT_EQUAL(b.rt->program[RT_ATTACK].nkernels > 0, i == 1 || i > 2);
        if (i != 3) /* trades' statistics are those of the clean pictures, pgd's are not */
            CU_ASSERT(memcmp(mean[0], mean[i > 0], sizeof mean[0]) == 0);
        netrt_close(m);
        netrt_close(n);
        built_free(&b);
        free(four);
        if (i > 0)
            free(one);
    }
    free(plain);
}

SUITE_MAIN(TEST(linear_is_known), TEST(gradient_of_losses), TEST(gradients_of_trades),
           TEST(same_bits))
