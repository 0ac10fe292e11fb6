/* rt_report.c: one HTML page with everything a trained network can show: its layers, its accuracy
 * and confusions, its loss curve, and the sheets of the jobs of rt_jobs.h, under each the command
 * that makes it alone.
 *
 * ensures: index.html in a folder: no script, nothing from outside the folder; pictures are embedded
 * (base64) until the page has PAGE_MAX bytes, then lie beside it; plots are inline SVG; names from
 * data are escaped.  The same bytes for any number of threads.
 */
#include <string.h>

#include "rt_alloc.h"
#include "rt_diagram.h"
#include "rt_io.h"
#include "rt_jobs.h"
#include "rt_log.h"
#include "rt_st.h"
#include "rt_svg.h"

static const char style[] =
    ":root{color-scheme:light dark;--ink:#1c2024;--soft:#59616b;--page:#fff;--card:#f6f7f9;"
    "--edge:#d5d9de;--link:#0550ae}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e4e7eb;--soft:#a0a8b2;--page:#14171a;"
    "--card:#1d2125;--edge:#3a4048;--link:#79b8ff}}"
    "body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);"
    "max-width:1120px;margin:0 auto;padding:1.5em 1em 4em}"
    "a{color:var(--link)}h1{font-size:2em;margin:0 0 .1em;line-height:1.2}"
    "h2{margin:2.2em 0 .4em;padding-bottom:.2em;border-bottom:1px solid var(--edge)}"
    "p,figcaption{max-width:75ch}.facts,.made,figcaption{color:var(--soft);font-size:.86em}"
    ".made{margin:.2em 0 0;overflow-wrap:anywhere}"
    "code{font:.92em ui-monospace,monospace;background:var(--card);padding:.1em .3em;"
    "border-radius:3px}"
    "nav{display:flex;flex-wrap:wrap;gap:.3em 1em;margin:1em 0;padding:.6em 1em;"
    "background:var(--card);border:1px solid var(--edge);border-radius:6px;font-size:.92em}"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9em;margin-top:1em}"
    "td,th{padding:.15em .8em;text-align:right;white-space:nowrap}"
    "td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}"
    "tr:nth-child(even){background:var(--card)}"
    "figure{margin:1em 0}figure img,.paper{background:#fff;border:1px solid var(--edge);"
    "border-radius:4px}.paper{color:#222;padding:.5em;width:fit-content;max-width:100%;box-sizing:border-box}"
    "img{display:block;max-width:100%;height:auto;image-rendering:auto}svg{max-width:100%;height:auto}"
    ".big{font-size:1.3em}.not{color:var(--soft);border-left:3px solid var(--edge);"
    "padding-left:.8em}"
    ".net{max-width:none}"
    "@media print{:root{--ink:#000;--soft:#444;--page:#fff;--card:#fff;--edge:#bbb;--link:#000}"
    "body{font-size:10pt;max-width:none;padding:0}nav{display:none}h2{break-after:avoid}"
    "figure,table,svg{break-inside:avoid}}";

/* ---- parts of the page ---- */

static void layers_table(rt_text *o, const rt_model *m) {
    rt_text_add(o, "<div class=\"wide\"><table><tr><th>layer</th><th>operation</th>"
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
    rt_text_add(o, "</table></div>\n");
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
        rt_text_printf(o, "<h2 id=\"recognition\">Recognition</h2>\n<p class=\"big\">%.2f %% right of %lld test images"
                          " (%lld wrong), loss %.4f</p>\n",
                       100.0 * (double)(score.images - score.wrong) / (double)score.images,
                       (long long)score.images, (long long)score.wrong, score.loss);
        if (classes <= 40) {
            rt_text_add(o, "<figure class=\"paper\">");
            rt_svg_confusion(o, "true class (rows) and prediction (columns)", score.confusion,
                             classes, name_of, v->m, 0);
            rt_text_add(o, "</figure>\n");
        }
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
        rt_text_add(o, "<h2 id=\"training\">Training</h2>\n<figure class=\"paper\">");
        inline_svg(o, (const char *)data);
        rt_text_add(o, "</figure>\n");
        rt_note(&v->cli.progress, "%s", svg);
    }
    rt_free(data);
}

enum { PAGE_MAX = 4600000 }; /* the page stays below 5 MB whatever the network */

typedef struct Report {
    rt_viz *v;
    rt_text page;
    rt_done *done;
    int count;
    int beside; /* pictures that the page had no room for */
    char digest[ST_HASH_DIGITS + 1]; /* of the weights file */
} Report;

/* What a technique shows; those that are not here say it by their row's summary. */
static const char *const intro[][2] = {
    {"filters", "The weights of the convolutions."},
    {"activations", "What every map answers to one test image."},
    {"deconv", "The nine images of the test data that excite a map most: on the left what the deconvnet "
               "(Zeiler and Fergus, 2014) carries back from that activation to the pixels, on the right the "
               "part of the image that the unit sees."},
    {"occlude", "A grey square slides over the image: how much the strongest map, and the probability of "
                "the class, lose when a place is hidden (Zeiler and Fergus, 2014)."},
    {"saliency", "Largest absolute gradient of the predicted class's score per pixel (Simonyan et al., "
                 "2014)."},
    {"guided", "The same gradient through rectifiers that pass positive signals only (Springenberg et "
               "al., 2015)."},
    {"smoothgrad", "The gradient's mean over noisy copies of the image (Smilkov et al., 2017)."},
    {"integrated", "Gradients summed on the way from an empty image to this one (Sundararajan et al., "
                   "2017)."},
    {"gradcam", "Maps of the last convolution, weighted by what the class gains from them (Selvaraju et "
                "al., 2017)."},
    {"field", "What part of the image a unit of each layer can see."},
    {"lrp", "The score handed back layer by layer to the pixels that it came from (Bach et al., 2015)."},
    {"invert", "An image whose values in a layer are those of the given one (Mahendran and Vedaldi, "
               "2015): what the layer has kept of it."},
    {"embed", "The test images placed by their values in one layer: neighbours there are neighbours "
              "here (van der Maaten and Hinton, 2008)."},
    {"errors", "The test images whose true class got the least."},
    {"maximize", "Images that excite each class most, found by climbing from noise (Yosinski et al., "
                 "2015)."},
};

static const char *intro_of(const rt_done *d) {
    for (size_t i = 0; i < sizeof intro / sizeof *intro; i++)
        if (strcmp(intro[i][0], d->job.arg[0]) == 0)
            return intro[i][1];
    return d->technique ? d->technique->help.summary : "";
}

static const char *heading_of(const rt_done *d, char *room, size_t size) {
    static const char *const known[][2] = {
        {"deconv", "What excites each map"}, {"occlude", "Occlusion"}, {"guided", "Guided backpropagation"},
        {"smoothgrad", "SmoothGrad"}, {"integrated", "Integrated gradients"},
        {"gradxinput", "Gradient times input"}, {"gradcam", "Grad-CAM"},
        {"lrp", "Layer-wise relevance"}, {"maximize", "Best images"}, {"embed", "A layer's space"},
        {"errors", "Worst errors"}, {"field", "Receptive fields"}, {"invert", "What a layer remembers"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i][0], d->job.name) == 0 && strcmp(d->job.name, d->job.arg[0]) == 0)
            return known[i][1];
    snprintf(room, size, "%s", d->job.name);
    if (room[0] >= 'a' && room[0] <= 'z')
        room[0] = (char)(room[0] - 'a' + 'A');
    return room;
}

/* ---- sheets ---- */

/* A file's name within the folder of the page. */
static const char *inside(const Report *r, const rt_made *made) {
    size_t n = strlen(r->v->cli.out);
    return strncmp(made->path, r->v->cli.out, n) == 0 && made->path[n] == '/' ? made->path + n + 1
                                                                               : made->path;
}

/* As part of a link: anything but plain letters as %XX. */
static void add_link(rt_text *o, const char *path) {
    for (; *path; path++) {
        unsigned char c = (unsigned char)*path;
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            strchr("-_.~/", c))
            rt_text_bytes(o, path, 1);
        else
            rt_text_printf(o, "%%%02X", c);
    }
}

static int ends_with(const char *s, const char *end) {
    size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

/* Is it a picture that belongs into the page? */
static const char *type_of(const char *path) {
    return ends_with(path, ".png")   ? "image/png"
           : ends_with(path, ".svg") ? "image/svg+xml"
           : ends_with(path, ".gif") ? "image/gif"
                                     : NULL;
}

static int picture(Report *r, const rt_made *made, rt_error *err) {
    rt_text *o = &r->page;
    unsigned char *data = NULL;
    size_t size = 0;
    if (rt_io_read_file(made->path, 256 << 20, &data, &size, err))
        return err->code;
    rt_text_add(o, "<img alt=\"");
    rt_text_xml(o, made->title);
    rt_text_add(o, "\" src=\"");
    if (o->size + size / 3 * 4 > PAGE_MAX) {
        add_link(o, inside(r, made));
        rt_text_add(o, "\" loading=\"lazy");
        r->beside++;
    } else {
        rt_text_printf(o, "data:%s;base64,", type_of(made->path));
        rt_text_base64(o, data, size);
    }
    rt_text_add(o, "\"/>");
    rt_free(data);
    return err->code;
}

/* The command, the seed and the weights that made it. */
static void origin(Report *r, const rt_done *d) {
    rt_text *o = &r->page;
    const rt_viz *v = r->v;
    uint64_t seed = v->cli.seed >= 0 ? (uint64_t)v->cli.seed : v->cli.model->train.seed;
    rt_text_add(o, "<p class=\"made\"><code>");
    rt_text_xml(o, d->command);
    rt_text_printf(o, "</code> seed %llu, weights ", (unsigned long long)seed);
    rt_text_xml(o, v->cli.weights);
    rt_text_printf(o, " (XXH3 %s)</p>\n", r->digest);
}

static int section(Report *r, const rt_done *d, rt_error *err) {
    rt_text *o = &r->page;
    char room[160];
    if (!d->technique)
        return NETRT_OK;
    rt_text_add(o, "<h2 id=\"job-");
    rt_text_xml(o, d->job.name);
    rt_text_add(o, "\">");
    rt_text_xml(o, heading_of(d, room, sizeof room));
    rt_text_add(o, "</h2>\n<p>");
    rt_text_xml(o, intro_of(d));
    rt_text_add(o, "</p>\n");
    if (d->error.code) {
        char why[sizeof d->error.text];
        snprintf(why, sizeof why, "%.*s", (int)strcspn(d->error.text, "\n"), d->error.text);
        rt_text_add(o, "<p class=\"not\">Not shown: ");
        rt_text_xml(o, why);
        rt_text_add(o, ".</p>\n");
    }
    int others = 0;
    for (int i = d->first; i < d->first + d->count && !err->code; i++) {
        const rt_made *made = &r->v->made[i];
        if (!type_of(made->path)) {
            others++;
            continue;
        }
        rt_text_add(o, "<figure>");
        picture(r, made, err);
        rt_text_add(o, "<figcaption>");
        rt_text_xml(o, made->title);
        if (made->note[0])
            rt_text_add(o, ": ");
        rt_text_xml(o, made->note);
        rt_text_add(o, "</figcaption>");
        origin(r, d);
        rt_text_add(o, "</figure>\n");
    }
    if (others)
        rt_text_add(o, "<p class=\"made\">The numbers: ");
    for (int i = d->first; others && i < d->first + d->count; i++) {
        const char *name = inside(r, &r->v->made[i]), *slash = strrchr(name, '/');
        if (type_of(name))
            continue;
        rt_text_add(o, "<a href=\"");
        add_link(o, name);
        rt_text_add(o, "\">");
        rt_text_xml(o, slash ? slash + 1 : name);
        rt_text_add(o, "</a> ");
    }
    if (others)
        rt_text_add(o, "</p>\n");
    return err->code;
}

/* ---- the page ---- */

static void head(Report *r) {
    const rt_model *m = r->v->m->model;
    rt_text *o = &r->page;
    char count[32];
    rt_text_add(o, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>"
                   "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"/><title>");
    rt_text_xml(o, m->name);
    rt_text_printf(o, "</title><style>%s</style></head><body>\n<h1>", style);
    rt_text_xml(o, m->name);
    rt_text_printf(o, "</h1>\n<p class=\"facts\">%s parameters. Spec ",
                   rt_text_count(m->param_count, count));
    rt_text_xml(o, m->spec_file);
    rt_text_printf(o, " (%s), compiled by netc %s for %s. Weights ", m->spec_hash, m->version,
                   m->target);
    rt_text_xml(o, r->v->cli.weights);
    rt_text_printf(o, " (XXH3 %s). Data ", r->digest);
    rt_text_xml(o, rt_data_uri(r->v->cli.ds));
    rt_text_printf(o, ", %s images.</p>\n", rt_text_count(rt_data_count(r->v->cli.ds), count));
}

static void contents(Report *r, int recognition, int training) {
    rt_text *o = &r->page;
    char room[160];
    rt_text_add(o, "<nav>");
    if (recognition)
        rt_text_add(o, "<a href=\"#recognition\">Recognition</a> ");
    if (training)
        rt_text_add(o, "<a href=\"#training\">Training</a> ");
    rt_text_add(o, "<a href=\"#network\">The network</a> ");
    for (int i = 0; i < r->count; i++) {
        if (!r->done[i].technique)
            continue;
        rt_text_add(o, "<a href=\"#job-");
        rt_text_xml(o, r->done[i].job.name);
        rt_text_add(o, "\">");
        rt_text_xml(o, heading_of(&r->done[i], room, sizeof room));
        rt_text_add(o, "</a> ");
    }
    rt_text_add(o, "</nav>\n");
}

static int body(Report *r, rt_feed *feed, rt_error *err) {
    rt_text *o = &r->page, answers = {0}, curve = {0};
    if (accuracy(r->v, &answers, feed, err) == 0)
        loss_curve(r->v, &curve);
    contents(r, answers.size > 0, curve.size > 0);
    if (answers.size)
        rt_text_add(o, answers.data);
    if (curve.size)
        rt_text_add(o, curve.data);
    o->failed |= answers.failed || curve.failed;
    rt_text_free(&answers);
    rt_text_free(&curve);
    rt_text_add(o, "<h2 id=\"network\">The network</h2>\n<p>A box for each layer, with what "
                   "follows it alone; arrows for what it reads.</p>\n<div class=\"wide\">");
    if (rt_diagram(o, r->v->m->model, 0, err) == NETRT_EUSAGE) {
        rt_text_add(o, "<p>This network is too large for a drawing.</p>");
        *err = (rt_error){0};
    }
    rt_text_add(o, "</div>\n");
    layers_table(o, r->v->m->model);
    for (int i = 0; i < r->count && !err->code; i++)
        section(r, &r->done[i], err);
    return err->code;
}

static int write_page(Report *r, rt_error *err) {
    rt_viz *v = r->v;
    rt_feed feed = {0};
    char path[4100], size[24];
    snprintf(path, sizeof path, "%.4000s/index.html", v->cli.out);
    if (rt_viz_open(v, 1, err) == 0 && rt_cli_data(&v->cli, 1, 0, &v->cli.ds, err) == 0) {
        rt_cli_class_names(v->m, v->cli.ds);
        head(r);
        if (rt_feed_open(&feed, v->m, v->cli.ds, v->look.cap, 0, 0, err) == 0)
            body(r, &feed, err);
    }
    rt_viz_feed_close(v, &feed);
    rt_text_add(&r->page, "</body></html>\n");
    if (!err->code && rt_text_ok(&r->page, err) &&
        rt_io_write_file(path, r->page.data, r->page.size, err) == 0)
        rt_note(&v->cli.progress, "%s  %s, %s", path, rt_text_bytes_human((double)r->page.size, size),
                r->beside ? "with pictures of its folder" : "self-contained");
    rt_text_free(&r->page);
    return err->code;
}

static int run_report(rt_viz *v, const char **operands, int n, rt_error *err) {
    Report r = {.v = v};
    char weights[4200];
    int own;
    rt_error refused = {0};
    if (n)
        return rt_fail(err, NETRT_EUSAGE, "report takes no file\nhelp: --data=%s", operands[0]);
    rt_jobs_of(v->cli.model, &r.count, &own);
    r.done = rt_alloc_zero((size_t)r.count, sizeof *r.done, "list of jobs", err);
    if (r.done && rt_jobs_weights(v, weights, sizeof weights, err) == 0 &&
        rt_file_digest(v->cli.weights, r.digest, err) == 0) {
        rt_jobs_run(v, r.done, &refused);
        if (refused.code && refused.code != NETRT_EUSAGE)
            *err = refused;
        else
            write_page(&r, err);
    }
    rt_free(r.done);
    if (!err->code && refused.code)
        *err = refused; /* the page is there and says so too */
    return err->code;
}

const rt_technique rt_technique_report = {
    {"report", "all of it on one page, index.html", "[OPTIONS]",
     "report\nreport --weights=run/best.safetensors --out=out"},
    run_report, NULL, 0};
