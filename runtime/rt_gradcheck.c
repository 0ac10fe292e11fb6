/* rt_gradcheck.c: `NAME gradcheck`: compares the compiled gradient with differences of the compiled
 * loss, parameter by parameter, along the gradient and along random +-1 directions.
 *
 * The gradient is what one step without momentum and decay subtracts: with the rate 2^20 the weight
 * moves by 2^20 g, so rounding against the old weight costs next to nothing.  Losses come from the
 * training program itself with rate 0 (same dropout masks).  theory: central differences; the error
 * is |numeric - analytic| over the larger of |analytic| and |g|, the size a random direction's
 * product has.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_cli.h"
#include "rt_optim.h"
#include "rt_rng.h"

typedef struct Check {
    netrt *m;
    int64_t n, directions;
    float *w, *g, *d, *moved; /* of the parameter at hand, logical order */
    int64_t largest;
} Check;

typedef struct Found {
    double error, norm; /* worst relative error; |g| */
    int64_t count;
} Found;

static const float gradient_rate = 0x1p20f;

static double loss_at(Check *c, int param, const float *w, rt_error *err) {
    rt_param_write(c->m, param, w);
    rt_optim_plain(c->m, 0);
    c->m->frame.step = 0;
    if (netrt_run(c->m, RT_TRAIN, "step", -1, c->n, err))
        return NAN;
    return rt_losses(c->m, RT_TRAIN, c->n, NULL);
}

/* Gradients of all parameters at once would need twice the memory: one step per parameter. */
static int gradient(Check *c, int param, char *saved, rt_error *err) {
    const rt_param *p = &c->m->model->param[param];
    size_t bytes = (size_t)c->m->model->param_bytes;
    int64_t n = rt_param_count(p);
    rt_param_read(c->m, param, c->w);
    memset(c->m->state, 0, (size_t)c->m->model->state_bytes);
    rt_optim_plain(c->m, (double)gradient_rate);
    c->m->frame.step = 0;
    if (netrt_run(c->m, RT_TRAIN, "step", -1, c->n, err))
        return err->code;
    rt_param_read(c->m, param, c->moved);
    double scale = 1 / ((double)gradient_rate * p->lr_mult);
    for (int64_t i = 0; i < n; i++)
        c->g[i] = (float)(((double)c->w[i] - (double)c->moved[i]) * scale);
    memcpy(c->m->param, saved, bytes);
    memset(c->m->state, 0, (size_t)c->m->model->state_bytes);
    c->m->param_version++;
    return NETRT_OK;
}

static double norm(const float *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

/* number 0: along the gradient; others: +-1, nothing where there is no connection. */
static void direction(Check *c, int param, int64_t number, double length) {
    const rt_param *p = &c->m->model->param[param];
    int64_t n = rt_param_count(p), area = p->links ? n / (p->dim[0] * p->dim[1]) : 1;
    rt_rng rng = rt_rng_make(c->m->seed, RT_RNG_TEST);
    double scale = length > 0 ? sqrt((double)n) / length : 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits[4];
        rt_rng_block(rng, (uint32_t)number, (uint32_t)param, (uint32_t)i, (uint32_t)(i >> 32),
                     bits);
        c->d[i] = number == 0 ? (float)((double)c->g[i] * scale) : bits[0] & 1 ? 1.0f : -1.0f;
        if (p->links && !p->links[i / area])
            c->d[i] = 0;
    }
}

/* The best agreement among a few step sizes: kinks (ReLU, max) spoil large ones, rounding small. */
static double disagreement(Check *c, int param, int64_t n, double length, double loss,
                           rt_error *err) {
    double analytic = 0, best = HUGE_VAL, rms = norm(c->w, n) / sqrt((double)n);
    for (int64_t i = 0; i < n; i++)
        analytic += (double)c->g[i] * (double)c->d[i];
    double h = length > 0 ? 4e-3 * fmax(fabs(loss), 1e-3) / length : 1e-2;
    h = fmin(h, 0.2 * (rms > 0 ? rms : 1));
    double floor_ = 1e-6 * fmax(fabs(loss), 1e-3); /* below this a gradient is no gradient */
    for (int k = 0; k < 5 && !err->code; k++, h /= 4) {
        double side[2];
        for (int s = 0; s < 2; s++) {
            for (int64_t i = 0; i < n; i++)
                c->moved[i] = c->w[i] + (float)(s ? -h : h) * c->d[i];
            side[s] = loss_at(c, param, c->moved, err);
        }
        double numeric = (side[0] - side[1]) / (2 * h);
        best = fmin(best, fabs(numeric - analytic) / fmax(fmax(length, fabs(analytic)), floor_));
    }
    rt_param_write(c->m, param, c->w);
    return best;
}

static int check_param(Check *c, int param, char *saved, Found *f, rt_error *err) {
    const rt_param *p = &c->m->model->param[param];
    memset(f, 0, sizeof *f);
    f->count = rt_param_count(p);
    if (gradient(c, param, saved, err))
        return err->code;
    f->norm = norm(c->g, f->count);
    double loss = loss_at(c, param, c->w, err);
    for (int64_t k = f->norm > 0 ? 0 : 1; k <= c->directions && !err->code; k++) {
        direction(c, param, k, f->norm);
        double e = disagreement(c, param, f->count, f->norm, loss, err);
        f->error = !(e <= f->error) ? e : f->error;
    }
    return err->code;
}

/* Away from kinks: biases of zero over a flat background put whole maps exactly on the corner of a
 * rectifier, where no derivative exists.  Pictures get noise, parameters that are all zero a little
 * of their own. */
static void generic_position(Check *c, rt_feed *feed) {
    rt_rng rng = rt_rng_make(c->m->seed, RT_RNG_TEST);
    const rt_model *model = c->m->model;
    for (int s = 0; s < model->ninputs; s++) {
        int64_t count = rt_input_count(model, s);
        float width = 0.25f * (model->input[s].hi - model->input[s].lo);
        for (int64_t i = 0; i < c->n * count; i++) {
            uint32_t bits[4];
            rt_rng_block(rng, 1u << 31, (uint32_t)s, (uint32_t)i, (uint32_t)(i >> 32), bits);
            feed->input[s][i] += width * (2 * rt_rng_unit(bits[0]) - 1);
        }
    }
    for (int i = 0; i < model->nparams; i++) {
        int64_t n = rt_param_count(&model->param[i]);
        if (!rt_param_trained(&model->param[i]))
            continue;
        rt_param_read(c->m, i, c->w);
        if (norm(c->w, n) > 0)
            continue;
        rt_rng_fill_uniform(rng, (1u << 31) + 1, (uint32_t)i, 0, -0.1f, 0.1f, c->w, (size_t)n);
        rt_param_write(c->m, i, c->w);
    }
}

static int open_check(Check *c, rt_cli *cli, rt_feed *feed, rt_error *err) {
    int64_t want[256];
    if (rt_cli_open(cli, 0, &c->m, err) || rt_cli_data(cli, 0, 0, &cli->ds, err) ||
        rt_program_ready(c->m, RT_TRAIN, c->m->cap, err) ||
        rt_feed_open(feed, c->m, cli->ds, c->m->cap, 0, rt_wants_labels(c->m->model), err))
        return err->code;
    int64_t count = rt_data_count(cli->ds), n = c->m->cap < count ? c->m->cap : count;
    for (int64_t i = 0; i < n; i++)
        want[i] = i * (count / n);
    c->n = rt_feed_load(feed, want, n, -1, rt_cli_skipped, cli);
    if (c->n < 0)
        return rt_fail(err, feed->failure.code, "%s", feed->failure.text);
    if (c->n < 1)
        return rt_fail(err, NETRT_EDATA, "no usable pictures in %s", rt_data_uri(cli->ds));
    for (int i = 0; i < c->m->model->nparams; i++)
        if (rt_param_count(&c->m->model->param[i]) > c->largest)
            c->largest = rt_param_count(&c->m->model->param[i]);
    float **buffer[] = {&c->w, &c->g, &c->d, &c->moved};
    for (int i = 0; i < 4; i++)
        *buffer[i] = rt_alloc((size_t)c->largest + 1, sizeof(float), "gradients", err);
    if (!err->code)
        generic_position(c, feed);
    return err->code;
}

static int run(rt_cli *cli, int64_t directions, double tolerance) {
    rt_error err = {0};
    rt_feed feed = {0};
    rt_text o = {0};
    Check c = {.directions = directions};
    int failed = 0;
    char count[32];
    if (cli->batch == 0)
        cli->batch = 8;
    char *saved = NULL;
    size_t bytes = (size_t)cli->model->param_bytes;
    if (!open_check(&c, cli, &feed, &err) && (saved = rt_alloc(bytes, 1, "weights", &err))) {
        memcpy(saved, c.m->param, bytes);
        if (!cli->json)
            rt_text_printf(&o, "%-24s %12s %12s %12s\n", "parameter", "numbers", "|gradient|",
                           "error");
        else
            rt_text_add(&o, "{\"parameters\":[");
        for (int i = 0, shown = 0; i < c.m->model->nparams && !err.code; i++) {
            const rt_param *p = &c.m->model->param[i];
            Found f;
            if (!rt_param_trained(p) || p->lr_mult == 0 || check_param(&c, i, saved, &f, &err))
                continue;
            int bad = !(f.error <= tolerance);
            failed += bad;
            if (cli->json) {
                rt_text_add(&o, shown++ ? ",{\"name\":" : "{\"name\":");
                rt_text_json(&o, p->name);
                rt_text_printf(&o, ",\"numbers\":%lld,\"norm\":", (long long)f.count);
                rt_text_number(&o, f.norm);
                rt_text_add(&o, ",\"error\":");
                rt_text_number(&o, f.error);
                rt_text_add(&o, "}");
            } else {
                rt_text_printf(&o, "%-24s %12s %12.3e %12.2e%s\n", p->name,
                               rt_text_count(f.count, count), f.norm, f.error,
                               bad ? "  WRONG" : "");
            }
        }
        if (cli->json)
            rt_text_printf(&o, "],\"wrong\":%d}\n", failed);
        else
            rt_text_printf(&o,
                           failed ? "%d parameters differ by more than %g\n"
                                  : "all gradients agree (%d beyond %g)\n",
                           failed, tolerance);
        if (!err.code)
            rt_cli_print(&o, &err);
    }
    rt_report(&cli->progress, &err);
    rt_text_free(&o);
    if (feed.m)
        rt_feed_close(&feed);
    rt_data_close(cli->ds);
    rt_free(saved);
    rt_free(c.w);
    rt_free(c.g);
    rt_free(c.d);
    rt_free(c.moved);
    netrt_close(c.m);
    return err.code ? err.code : failed ? NETRT_EPARTIAL : NETRT_OK;
}

int rt_verb_gradcheck(rt_cli *cli, int argc, char **argv) {
    int64_t directions = 3;
    double tolerance = 0.02;
    const rt_arg table[] = {
        RT_OPT_DATA(cli, "pictures to use (default: the spec's training data)"),
        {"weights", 'w', RT_ARG_TEXT, "FILE", &cli->weights, 0, 0,
         "weights to check at (default: the initial ones)"},
        {"directions", 0, RT_ARG_INT, "N", &directions, 1, 1000,
         "random directions per parameter, besides the gradient's own (default 3)"},
        {"tolerance", 0, RT_ARG_REAL, "X", &tolerance, 0, 1,
         "largest error allowed (default 0.02)"},
        {"batch", 'b', RT_ARG_INT, "N", &cli->batch, 1, 256, "pictures to use (default 8)"},
        RT_OPT_SEED(cli),
        RT_OPT_THREADS(cli),
        RT_OPT_JSON(cli)};
    static const rt_verb verb = {"gradcheck", "compares gradients with differences of the loss",
                                 "[OPTIONS]",
                                 "gradcheck\ngradcheck --weights=run/last.safetensors"};
    const char *operands[argc + 1];
    int n = 0, code;
    if (!rt_cli_parse(cli, &verb, table, sizeof table / sizeof *table, argc, argv, operands, &n,
                      &code))
        return code;
    return run(cli, directions, tolerance);
}
