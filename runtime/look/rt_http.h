/* rt_http.h: a small door on the loopback address, made with libmicrohttpd, which is loaded when it
 * is needed: programs run without it, and libraries never know of it.
 *
 * Bounded: the address is 127.0.0.1 alone; names of hosts other than it are refused (DNS
 * rebinding), as are questions that pages of other origins ask; so many connections, so many
 * questions a second, so large a body, so long a silence.  There are no files behind it.
 */
#ifndef RT_HTTP_H
#define RT_HTTP_H

#include <stddef.h>

#include "rt_error.h"

enum {
    RT_HTTP_BODY = 16 << 20, /* bytes of a question */
    RT_HTTP_RATE = 200,      /* questions a second, and twice as many at once */
    RT_HTTP_CONNECTIONS = 24,
    RT_HTTP_SILENCE = 15     /* seconds */
};

typedef struct rt_http rt_http;

/* One question; get() finds parameters behind the ?, NULL: not there. */
typedef struct rt_http_question {
    const char *path; /* "/maps.png" */
    int post;
    const unsigned char *body;
    size_t size;
    const char *(*get)(void *context, const char *key);
    void *context;
} rt_http_question;

typedef struct rt_http_reply {
    int status;         /* 200, 400, 404, .. */
    const char *type;
    unsigned char *data; /* released with rt_free */
    size_t size;
    const char *scale;  /* "" or a header X-Scale */
} rt_http_reply;

/* Questions come one at a time, from a thread of the library. */
typedef void (*rt_http_handler)(void *context, const rt_http_question *q, rt_http_reply *r);

/* port 0: any free one.  ELIMIT: the library is missing, or this program was built without it;
 * EIO: the port is taken. */
rt_http *rt_http_open(int port, rt_http_handler handler, void *context, rt_error *err);
int rt_http_port(const rt_http *h);
void rt_http_close(rt_http *h);

#endif
