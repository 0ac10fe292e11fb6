/* rt_error.h: how the runtime says that something went wrong.
 *
 * Every runtime function that can fail takes an rt_error and returns its code: 0 when all is well,
 * else one of NETRT_E*.  The codes are the exit codes of the produced programs, so a program passes
 * them on unchanged; a library caller gets the code and the text and decides for itself.
 * Nothing in the runtime prints or exits except the two program mains.
 */
#ifndef RT_ERROR_H
#define RT_ERROR_H

enum {
    NETRT_OK = 0,
    NETRT_EPARTIAL = 1,  /* the answer is "no", or some inputs were skipped */
    NETRT_EUSAGE = 2,    /* wrong command line */
    NETRT_EDIVERGED = 3, /* a loss or a weight became NaN or infinite */
    NETRT_EDATA = 4,     /* data, image or weights file is malformed or does not fit the network */
    NETRT_EIO = 5,       /* the operating system refused: missing file, full disk, permission */
    NETRT_ELIMIT = 6,    /* a resource limit or out of memory */
    NETRT_EBUG = 70      /* a mistake of ours */
};

typedef struct rt_error {
    int code;
    char text[1024]; /* one or more lines, no trailing newline; the last may begin with "help: " */
} rt_error;

/* Records code and printf-style text, returns code.  The first failure wins: a second call on an
 * rt_error that already holds one keeps the first text (it is nearer to the cause). */
int rt_fail(rt_error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Adds the next step, "help: ...", to a failure that does not tell one yet.  Returns err's code. */
int rt_advise(rt_error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
