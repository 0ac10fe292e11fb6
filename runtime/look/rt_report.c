/* rt_report.c: one HTML page with everything a trained network can show: its layers, its accuracy
 * and confusions, its loss curve, filters, activations, the nine strongest activations of each map
 * with their projections, saliency and guided backpropagation of a few pictures.
 *
 * ensures: one file, no script, no external reference; pictures are embedded (base64), plots are
 * inline SVG; names from data are escaped.
 */
#include "rt_viz.h"

#include <string.h>

#include "rt_alloc.h"
#include "rt_io.h"
#include "rt_log.h"
#include "rt_svg.h"

static const char style[] =
    "body{font:15px/1.45 sans-serif;color:#222;max-width:1180px;margin:2em auto;padding:0 1em}"
    "h1{font-size:1.7em;margin-bottom:.1em}h2{margin-top:2em;border-bottom:1px solid #ddd}"
    "table{border-collapse:collapse;font-size:14px}td,th{padding:.15em .8em;text-align:right}"
    "td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}"
    "tr:nth-child(even){background:#f5f5f5}img{max-width:100%;border:1px solid #ddd}"
    "figure{margin:1em 0}figcaption{color:#555;font-size:13px}svg{max-width:100%;height:auto}"
    ".big{font-size:1.3em}";

/* ---- parts of the page ---- */

static void layers_table(rt_text *o, const rt_model *m) {
    rt_text_add(o, "<h2>The network</h2>\n<table><tr><th>layer</th><th>operation</th>"
                   "<th>output</th><th>parameters</th><th>MACs</th><th>receptive field</th></tr>\n");
    for (int i = 0; i < m->nlayers; i++) {
        const rt_layer *l = &m->layer[i];
        char count[32];
        rt_text_add(o, "<tr><td>");
        rt_text_xml(o, l->label ? l->label : "");
        rt_text_add(o, "</td><td>");
        rt_text_xml(o, l->detail && l->detail[0] ? l->detail : l->op);
        if (l->out_rank >= 3)
            rt_text_printf(o, "</td><td>%lldx%lldx%lld", (long long)l->out[0],
                           (long long)l->out[1], (long long)l->out[2]);
        else
            rt_text_printf(o, "</td><td>%lld", (long long)l->out[0]);
        rt_text_printf(o, "</td><td>%s</td>", rt_text_count(l->params, count));
        rt_text_printf(o, "<td>%s</td>",
                       l->macs > 0 ? rt_text_count((int64_t)l->macs, count) : "-");
        rt_text_printf(o, "<td>%s</td></tr>\n", l->rf > 0 ? rt_text_count(l->rf, count) : "all");
    }
    rt_text_add(o, "</table>\n");
}

static const char *name_of(void *context, int64_t i, char buf[24]) {
    return netrt_class_name(context, i, buf);
}

/* Accuracy and confusion table over the test data. */
static int accuracy(rt_viz *v, rt_text *o, rt_feed *feed, rt_error *err) {
    int64_t classes = v->m->model->classes;
    rt_score score = {0};
    if (classes < 2 || classes > 4096 || rt_data_classes(feed->ds) != classes)
        return NETRT_OK;
    score.confusion = rt_alloc_zero((size_t)(classes * classes), sizeof *score.confusion,
                                    "confusion table", err);
    if (score.confusion && rt_evaluate(&v->cli, feed, &score, "testing", err) == 0 && score.images) {
        rt_text_printf(o, "<h2>Recognition</h2>\n<p class=\"big\">%.2f %% right of %lld test images"
                          " (%lld wrong), loss %.4f</p>\n",
                       100.0 * (double)(score.images - score.wrong) / (double)score.images,
                       (long long)score.images, (long long)score.wrong, score.loss);
        if (classes <= 40)
            rt_svg_confusion(o, "true class (rows) and prediction (columns)", score.confusion,
                             classes, name_of, v->m, 0);
    }
    rt_progress_clear(&v->cli.progress);
    rt_free(score.confusion);
    return err->code;
}

/* SVG file text without its XML namespace, which HTML does not need. */
static void inline_svg(rt_text *o, const char *svg) {
    static const char ns[] = " xmlns=\"http://www.w3.org/2000/svg\"";
    const char *at = strstr(svg, ns);
    if (at) {
        rt_text_bytes(o, svg, (size_t)(at - svg));
        svg = at + sizeof ns - 1;
    }
    rt_text_add(o, svg);
}

/* The loss curve, if the weights lie beside a training log. */
static void loss_curve(rt_viz *v, rt_text *o) {
    char csv[4300], svg[4100];
    const char *weights = v->cli.weights ? v->cli.weights : "run/last.safetensors";
    const char *slash = strrchr(weights, '/');
    snprintf(csv, sizeof csv, "%.*slog.csv", slash ? (int)(slash - weights + 1) : 0, weights);
    snprintf(svg, sizeof svg, "%.4000s/loss.svg", v->cli.out);
    unsigned char *data = NULL;
    size_t size = 0;
    rt_error ignored = {0};
    if (rt_log_plot(csv, svg, v->m->model->name, &ignored))
        return;
    if (rt_io_read_file(svg, 16 << 20, &data, &size, &ignored) == 0) {
        rt_text_add(o, "<h2>Training</h2>\n");
        inline_svg(o, (const char *)data);
        rt_note(&v->cli.progress, "%s", svg);
    }
    rt_free(data);
}

enum { PAGE_MAX = 4600000 }; /* the page stays below 5 MB whatever the network */

static int embed(rt_viz *v, rt_text *o, int from, const char *heading, const char *intro,
                 rt_error *err) {
    int any = 0;
    for (int i = from; i < v->nmade && !err->code; i++) {
        const rt_made *made = &v->made[i];
        unsigned char *data = NULL;
        size_t size = 0, n = strlen(made->path);
        if (n < 4 || strcmp(made->path + n - 4, ".png") != 0)
            continue;
        if (rt_io_read_file(made->path, 64 << 20, &data, &size, err))
            break;
        if (!any++)
            rt_text_printf(o, "<h2>%s</h2>\n<p>%s</p>\n", heading, intro);
        if (o->size + size / 3 * 4 > PAGE_MAX) {
            const char *slash = strrchr(made->path, '/');
            rt_text_add(o, "<p>");
            rt_text_xml(o, made->title);
            rt_text_add(o, " is too large for this page: ");
            rt_text_xml(o, slash ? slash + 1 : made->path);
            rt_text_add(o, "</p>\n");
            rt_free(data);
            continue;
        }
        rt_text_add(o, "<figure><img alt=\"");
        rt_text_xml(o, made->title);
        rt_text_add(o, "\" src=\"data:image/png;base64,");
        rt_text_base64(o, data, size);
        rt_text_add(o, "\"/><figcaption>");
        rt_text_xml(o, made->title);
        rt_text_add(o, ": ");
        rt_text_xml(o, made->note);
        rt_text_add(o, "</figcaption></figure>\n");
        rt_free(data);
    }
    return err->code;
}

/* ---- techniques ---- */

enum { REPORT_SCAN = 10000, REPORT_PICTURES = 3 };

/* Top-9 sheets of the convolutions; very wide layers show their first maps only. */
static int deconv_part(rt_viz *v, rt_text *o, rt_feed *feed, rt_error *err) {
    const rt_program *p = &v->m->model->program[RT_LOOK];
    int seed[64], n = rt_viz_conv_layers(v, seed, 64), from = v->nmade;
    if (p->refused[RT_RULE_DECONVNET] || n == 0) {
        rt_text_add(o, "<h2>What excites each map</h2>\n<p>The deconvnet projection is not defined "
                       "for this network: ");
        rt_text_xml(o, p->refused[RT_RULE_DECONVNET] ? p->refused[RT_RULE_DECONVNET]
                                                      : "it has no convolution");
        rt_text_add(o, "</p>\n");
        return NETRT_OK;
    }
    int64_t limit = v->limit;
    v->limit = limit ? limit : REPORT_SCAN;
    rt_viz_deconv(v, feed, RT_RULE_DECONVNET, seed, n, err);
    v->limit = limit;
    return embed(v, o, from, "What excites each map",
                 "The nine images of the test data that excite a map most: on the left what the "
                 "deconvnet (Zeiler and Fergus, 2014) carries back from that activation to the "
                 "pixels, on the right the part of the image that the unit sees.", err);
}

static int pictures_part(rt_viz *v, rt_text *o, rt_feed *feed, int rule, const char *heading,
                         const char *intro, rt_error *err) {
    int from = v->nmade;
    if (v->m->model->program[RT_LOOK].refused[rule])
        return NETRT_OK;
    int64_t count = rt_data_count(feed->ds);
    for (int64_t i = 0; i < REPORT_PICTURES && i < count && !err->code; i++)
        rt_viz_saliency(v, feed, i, rule, err);
    return embed(v, o, from, heading, intro, err);
}

static void head(rt_viz *v, rt_text *o) {
    const rt_model *m = v->m->model;
    char count[32];
    rt_text_add(o, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><title>");
    rt_text_xml(o, m->name);
    rt_text_printf(o, "</title><style>%s</style></head><body>\n<h1>", style);
    rt_text_xml(o, m->name);
    rt_text_printf(o, "</h1>\n<p>%s parameters, spec %s (", rt_text_count(m->param_count, count),
                   m->spec_hash);
    rt_text_xml(o, m->spec_file);
    rt_text_printf(o, "), compiled by netc %s for %s</p>\n", m->version, m->target);
}

static int body(rt_viz *v, rt_text *o, rt_feed *feed, rt_error *err) {
    int from;
    if (accuracy(v, o, feed, err))
        return err->code;
    loss_curve(v, o);
    layers_table(o, v->m->model);
    from = v->nmade;
    if ((rt_viz_any_filters(v) && rt_viz_filters(v, NULL, err)) ||
        embed(v, o, from, "Filters", "The weights of the convolutions.", err))
        return err->code;
    from = v->nmade;
    if (rt_viz_activations(v, feed, v->sample < 0 ? 0 : v->sample, err) ||
        embed(v, o, from, "Activations", "What every map answers to one test image.", err))
        return err->code;
    if (deconv_part(v, o, feed, err) ||
        pictures_part(v, o, feed, RT_RULE_GRADIENT, "Saliency",
                      "Largest absolute gradient of the predicted class's score per pixel "
                      "(Simonyan et al., 2014).", err))
        return err->code;
    return pictures_part(v, o, feed, RT_RULE_GUIDED, "Guided backpropagation",
                         "The same gradient through rectifiers that pass positive signals only "
                         "(Springenberg et al., 2015).", err);
}

static int rt_viz_report(rt_viz *v, rt_error *err) {
    rt_feed feed = {0};
    rt_text page = {0};
    char path[4100];
    snprintf(path, sizeof path, "%.4000s/report.html", v->cli.out);
    if (rt_cli_data(&v->cli, 1, 0, &v->cli.ds, err) == 0) {
        rt_cli_class_names(v->m, v->cli.ds);
        head(v, &page);
        if (rt_feed_open(&feed, v->m, v->cli.ds, v->look.cap, 0, 0, err) == 0)
            body(v, &page, &feed, err);
        if (feed.m)
            rt_feed_close(&feed);
        rt_data_close(v->cli.ds);
        v->cli.ds = NULL;
    }
    rt_text_add(&page, "</body></html>\n");
    if (!err->code && rt_text_ok(&page, err) &&
        rt_io_write_file(path, page.data, page.size, err) == 0) {
        char size[24];
        rt_note(&v->cli.progress, "%s  %s, self-contained", path,
                rt_text_bytes_human((double)page.size, size));
    }
    rt_text_free(&page);
    return err->code;
}

static int run_report(rt_viz *v, const char **operands, int n, rt_error *err) {
    if (n)
        return rt_fail(err, NETRT_EUSAGE, "report takes no file\nhelp: --data=%s", operands[0]);
    if (rt_viz_open(v, 1, err))
        return err->code;
    return rt_viz_report(v, err);
}

const rt_technique rt_technique_report = {
    {"report", "all of it on one page, report.html", "[OPTIONS]",
     "report\nreport --weights=run/best.safetensors --out=out"},
    run_report, NULL, 0};
