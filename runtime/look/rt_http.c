/* rt_http.c: the door (rt_http.h).
 *
 * Host must be 127.0.0.1:PORT or localhost:PORT, so a name that an attacker points at this address
 * is refused; Sec-Fetch-Site and Origin, which pages cannot forge, must say that this page asks.
 * Fetch: https://fetch.spec.whatwg.org; fetch metadata: W3C.
 */
#include "rt_http.h"

#include <stdio.h>
#include <string.h>

#include "rt_alloc.h"
#include "rt_par.h"

#ifdef NETC_MICROHTTPD
#include <arpa/inet.h>
#include <dlfcn.h>
#include <microhttpd.h>
#include <netinet/in.h>

static const char library[] = "libmicrohttpd.so.12";

/* The library's functions. */
#define FUNCTIONS(X)                                                                               \
    X(start_daemon)                                                                                \
    X(stop_daemon) X(get_daemon_info) X(lookup_connection_value) X(queue_response)                 \
    X(create_response_from_buffer) X(add_response_header) X(destroy_response)
#define X(name) __typeof__(&MHD_##name) name;
typedef struct Mhd {
    FUNCTIONS(X)
} Mhd;
#undef X

struct rt_http {
    Mhd mhd;
    void *library;
    struct MHD_Daemon *daemon;
    rt_http_handler handler;
    void *context;
    int port;
    double tokens, filled; /* questions left; when it was counted */
};

/* A question that is coming in. */
typedef struct Incoming {
    unsigned char *body;
    size_t size, cap;
    int too_large;
} Incoming;

/* What get() needs. */
typedef struct Asked {
    const rt_http *h;
    struct MHD_Connection *c;
} Asked;

static const char *header(const rt_http *h, struct MHD_Connection *c, const char *name) {
    return h->mhd.lookup_connection_value(c, MHD_HEADER_KIND, name);
}

static const char *get(void *context, const char *key) {
    const Asked *a = context;
    return a->h->mhd.lookup_connection_value(a->c, MHD_GET_ARGUMENT_KIND, key);
}

/* ---- who may ask ---- */

static int is_us(const rt_http *h, const char *host) {
    char name[2][40];
    snprintf(name[0], sizeof name[0], "127.0.0.1:%d", h->port);
    snprintf(name[1], sizeof name[1], "localhost:%d", h->port);
    return host && (strcmp(host, name[0]) == 0 || strcmp(host, name[1]) == 0);
}

/* 0, or the status of a refusal and why. */
static int refusal(rt_http *h, struct MHD_Connection *c, const char *url, int post,
                   const char **why) {
    const char *site = header(h, c, "Sec-Fetch-Site"), *origin = header(h, c, "Origin");
    double now = rt_seconds(), rate = (double)RT_HTTP_RATE;
    h->tokens += (now - h->filled) * rate;
    h->tokens = h->tokens > 2 * rate ? 2 * rate : h->tokens;
    h->filled = now;
    *why = "this page is for 127.0.0.1 and localhost alone";
    if (!is_us(h, header(h, c, "Host")))
        return MHD_HTTP_FORBIDDEN;
    *why = "only the explorer's own page may ask";
    int own = !site || strcmp(site, "same-origin") == 0 || strcmp(site, "none") == 0;
    if (!own && (post || strcmp(url, "/") != 0))
        return MHD_HTTP_FORBIDDEN;
    if (origin && (strncmp(origin, "http://", 7) != 0 || !is_us(h, origin + 7)))
        return MHD_HTTP_FORBIDDEN;
    *why = "too many questions a second";
    if (h->tokens < 1)
        return MHD_HTTP_TOO_MANY_REQUESTS;
    h->tokens -= 1;
    return 0;
}

/* ---- answering ---- */

static enum MHD_Result reply(rt_http *h, struct MHD_Connection *c, const rt_http_reply *r) {
    static const char *const fixed[][2] = {
        {"Cache-Control", "no-store"},
        {"X-Content-Type-Options", "nosniff"},
        {"X-Frame-Options", "DENY"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
        {"Cross-Origin-Opener-Policy", "same-origin"},
        {"Referrer-Policy", "no-referrer"},
        {"Content-Security-Policy",
         "default-src 'none'; img-src 'self' blob: data:; connect-src 'self'; style-src 'unsafe-inline'; "
         "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
    };
    struct MHD_Response *response =
        h->mhd.create_response_from_buffer(r->size, r->data, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    h->mhd.add_response_header(response, "Content-Type", r->type);
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        h->mhd.add_response_header(response, fixed[i][0], fixed[i][1]);
    if (r->scale && r->scale[0])
        h->mhd.add_response_header(response, "X-Scale", r->scale);
    enum MHD_Result ok = h->mhd.queue_response(c, (unsigned)r->status, response);
    h->mhd.destroy_response(response);
    return ok;
}

static enum MHD_Result refuse(rt_http *h, struct MHD_Connection *c, int status, const char *why) {
    char text[200];
    snprintf(text, sizeof text, "%s\n", why);
    rt_http_reply r = {status, "text/plain; charset=utf-8", (unsigned char *)text, strlen(text), ""};
    return reply(h, c, &r);
}

/* Takes a piece of the body. */
static void take(Incoming *in, const char *data, size_t n) {
    rt_error ignored = {0};
    if (in->too_large || n > RT_HTTP_BODY - in->size) {
        in->too_large = 1;
        return;
    }
    if (in->size + n > in->cap) {
        size_t cap = in->cap ? in->cap : 1 << 16;
        while (cap < in->size + n)
            cap *= 2;
        unsigned char *larger = rt_alloc(cap, 1, "a picture", &ignored);
        if (!larger) {
            in->too_large = 1;
            return;
        }
        memcpy(larger, in->body ? in->body : larger, in->size);
        rt_free(in->body);
        in->body = larger;
        in->cap = cap;
    }
    memcpy(in->body + in->size, data, n);
    in->size += n;
}

static enum MHD_Result answer(void *context, struct MHD_Connection *c, const char *url,
                              const char *method, const char *version, const char *data, size_t *size,
                              void **state) {
    rt_http *h = context;
    const char *why, *length;
    int post = strcmp(method, "POST") == 0, status;
    rt_error ignored = {0};
    (void)version;
    if (!*state) { /* the head alone has come */
        if (!post && strcmp(method, "GET") != 0)
            return refuse(h, c, MHD_HTTP_METHOD_NOT_ALLOWED, "GET and POST are answered");
        if ((status = refusal(h, c, url, post, &why)))
            return refuse(h, c, status, why);
        length = header(h, c, "Content-Length");
        if (length && strlen(length) > 8) /* the pieces are counted too */
            return refuse(h, c, MHD_HTTP_CONTENT_TOO_LARGE, "too large");
        *state = rt_alloc_zero(1, sizeof(Incoming), "a question", &ignored);
        return *state ? MHD_YES : MHD_NO;
    }
    Incoming *in = *state;
    if (*size > 0) {
        take(in, data, post ? *size : RT_HTTP_BODY + (size_t)1);
        *size = 0;
        return MHD_YES;
    }
    if (in->too_large)
        return refuse(h, c, MHD_HTTP_CONTENT_TOO_LARGE, "a picture has at most 16 MB");
    Asked asked = {h, c};
    rt_http_question q = {url, post, in->body, in->size, get, &asked};
    rt_http_reply r = {.status = MHD_HTTP_NOT_FOUND, .type = "text/plain", .scale = ""};
    h->handler(h->context, &q, &r);
    enum MHD_Result ok = r.data ? reply(h, c, &r) : refuse(h, c, r.status, "there is no such page");
    rt_free(r.data);
    return ok;
}

static void ended(void *context, struct MHD_Connection *c, void **state,
                  enum MHD_RequestTerminationCode why) {
    Incoming *in = *state;
    (void)context;
    (void)c;
    (void)why;
    if (in)
        rt_free(in->body);
    rt_free(in);
    *state = NULL;
}

/* ---- opening ---- */

static int load(rt_http *h, rt_error *err) {
    h->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    int all = h->library != NULL;
#define X(name)                                                                                    \
    if (all) {                                                                                     \
        void *at = dlsym(h->library, "MHD_" #name);                                                \
        memcpy(&h->mhd.name, &at, sizeof at);                                                      \
        all = at != NULL;                                                                          \
    }
    FUNCTIONS(X)
#undef X
    return all ? NETRT_OK
               : rt_fail(err, NETRT_ELIMIT, "%s is not there\nhelp: install it, on Debian: "
                         "apt install libmicrohttpd12; `report` makes a page without it", library);
}

rt_http *rt_http_open(int port, rt_http_handler handler, void *context, rt_error *err) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    rt_http *h = rt_alloc_zero(1, sizeof *h, "server", err);
    if (!h)
        return NULL;
    h->handler = handler;
    h->context = context;
    h->tokens = 2 * RT_HTTP_RATE;
    h->filled = rt_seconds();
    if (load(h, err) == 0)
        h->daemon = h->mhd.start_daemon(
            MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO, (uint16_t)port, NULL, NULL, answer, h,
            MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&at, MHD_OPTION_CONNECTION_LIMIT,
            (unsigned)RT_HTTP_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)RT_HTTP_SILENCE,
            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)32768, MHD_OPTION_NOTIFY_COMPLETED, ended,
            NULL, MHD_OPTION_LISTENING_ADDRESS_REUSE, 0U, MHD_OPTION_END);
    if (!err->code && !h->daemon)
        rt_fail(err, NETRT_EIO, "port %d cannot be opened\nhelp: another one: --port=0 takes any that "
                "is free", port);
    if (err->code) {
        rt_http_close(h);
        return NULL;
    }
    const union MHD_DaemonInfo *info = h->mhd.get_daemon_info(h->daemon, MHD_DAEMON_INFO_BIND_PORT);
    h->port = info ? info->port : port;
    return h;
}

int rt_http_port(const rt_http *h) {
    return h->port;
}

void rt_http_close(rt_http *h) {
    if (!h)
        return;
    if (h->daemon)
        h->mhd.stop_daemon(h->daemon);
    if (h->library)
        dlclose(h->library);
    rt_free(h);
}

#else

rt_http *rt_http_open(int port, rt_http_handler handler, void *context, rt_error *err) {
    (void)port;
    (void)handler;
    (void)context;
    rt_fail(err, NETRT_ELIMIT, "netc was built without libmicrohttpd\nhelp: install it (on Debian: apt "
            "install libmicrohttpd-dev) and build netc again; `report` makes a page without it");
    return NULL;
}

int rt_http_port(const rt_http *h) {
    (void)h;
    return 0;
}

void rt_http_close(rt_http *h) {
    (void)h;
}

#endif
