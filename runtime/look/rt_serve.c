/* rt_serve.c: the verb `serve`: the explorer's page and its questions on 127.0.0.1.
 *
 * Two threads: the door's asks the network, one question at a time; the main thread waits for
 * Ctrl-C and scans the data when that is wanted.  The page is explorer.html, compiled in.
 */
#define _GNU_SOURCE
#include <string.h>
#include <time.h>

#include "rt_alloc.h"
#include "rt_explore.h"
#include "rt_http.h"
#include "rt_jobs.h"

static const unsigned char page[] = {
#include "rt_explorer_page.h"
};

static int64_t port = 8080;

typedef struct Served {
    rt_explore *x;
    rt_nines *nines;
} Served;

static void give(rt_http_reply *r, int status, const char *type, const void *data, size_t size) {
    rt_error ignored = {0};
    r->data = rt_alloc(size + 1, 1, "a page", &ignored);
    if (!r->data)
        return;
    memcpy(r->data, data, size);
    r->status = status;
    r->type = type;
    r->size = size;
}

static void give_error(rt_http_reply *r, const rt_error *err) {
    rt_text t = {0};
    rt_error ignored = {0};
    rt_text_add(&t, "{\"error\":");
    rt_text_json(&t, err->text);
    rt_text_add(&t, "}");
    if (rt_text_ok(&t, &ignored))
        give(r, err->code == NETRT_EUSAGE || err->code == NETRT_EDATA ? 400 : 500, "application/json",
             t.data, t.size);
    rt_text_free(&t);
}

static void posted(Served *s, const rt_http_question *q, rt_http_reply *r) {
    rt_error err = {0};
    char text[64];
    if (strcmp(q->path, "/scan") == 0) {
        rt_nines_want(s->nines);
        give(r, 200, "application/json", "{}", 2);
    } else if (strcmp(q->path, "/drop") == 0) {
        int64_t id = rt_explore_drop(s->x, q->body ? q->body : (const unsigned char *)"", q->size, &err);
        snprintf(text, sizeof text, "{\"image\":%lld}", (long long)id);
        if (err.code)
            give_error(r, &err);
        else
            give(r, 200, "application/json", text, strlen(text));
    }
}

static void asked(void *context, const rt_http_question *q, rt_http_reply *r) {
    static rt_answer a; /* its scale lives until the reply is gone; one thread asks */
    Served *s = context;
    rt_error err = {0};
    if (q->post) {
        posted(s, q, r);
        return;
    }
    if (strcmp(q->path, "/") == 0) {
        give(r, 200, "text/html; charset=utf-8", page, sizeof page);
        return;
    }
    rt_question question = {q->get, q->context};
    if (!rt_explore_ask(s->x, q->path + (q->path[0] == '/'), &question, &a, &err))
        return;
    if (err.code) {
        rt_free(a.data);
        give_error(r, &err);
        return;
    }
    *r = (rt_http_reply){200, a.type, a.data, a.size, a.scale};
}

static int run_serve(rt_viz *v, const char **operands, int n, rt_error *err) {
    rt_nines nines;
    rt_viz scanner;
    rt_text where = {0};
    char weights[4200];
    const struct timespec nap = {0, 50000000};
    if (rt_jobs_weights(v, weights, sizeof weights, err))
        return err->code;
    v->no_files = 1;
    scanner = *v;
    rt_nines_open(&nines);
    Served s = {rt_explore_open(v, operands, n, &nines, err), &nines};
    rt_http *h = err->code ? NULL : rt_http_open((int)port, asked, &s, err);
    if (h) {
        rt_text_printf(&where, "http://127.0.0.1:%d/\n", rt_http_port(h));
        rt_cli_print(&where, err);
        rt_note(&v->cli.progress, "the explorer of %s waits there; Ctrl-C ends it", v->cli.model->name);
    }
    while (h && !rt_cli_signal) {
        rt_nines_work(&nines, &scanner, operands, n);
        nanosleep(&nap, NULL);
    }
    rt_http_close(h);
    rt_explore_close(s.x);
    rt_nines_close(&nines);
    return err->code;
}

static const rt_arg args[] = {
    {"port", 'p', RT_ARG_INT, "N", &port, 0, 65535, "port on 127.0.0.1, 0: any free one (default: 8080)"},
};

const rt_technique rt_technique_serve = {
    {"serve", "an explorer in the browser, on this machine alone", "[OPTIONS] [DATA]",
     "serve\nserve --port=9000 --data=mnist"},
    run_serve, args, sizeof args / sizeof *args};
