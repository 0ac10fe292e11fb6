/* rt_program.h: runs the program NAME inside a test, with standard output and error in files. */
#ifndef RT_PROGRAM_H
#define RT_PROGRAM_H

#include "rt_files.h"

#include <fcntl.h>
#include <stdarg.h>

#include "rt_toy.h"

#include "rt_cli.h"

static char out_text[1 << 16], err_text[1 << 16];

static void slurp(const char *path, char *buf, size_t size) {
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(buf, 1, size - 1, f) : 0;
    buf[n] = 0;
    if (f)
        fclose(f);
}

/* program("train", "--epochs=2", NULL): the exit code; texts in out_text and err_text. */
__attribute__((unused)) static int program(const char *first, ...) {
    char *argv[40] = {(char *)(uintptr_t) "toy", (char *)(uintptr_t)first};
    int argc = first ? 2 : 1;
    va_list args;
    va_start(args, first);
    while (first && argc < 39 && (argv[argc] = va_arg(args, char *)))
        argc++;
    va_end(args);
    char *names[2] = {strdup(in_dir("stdout.txt")), strdup(in_dir("stderr.txt"))};
    int saved[2];
    fflush(stdout);
    fflush(stderr);
    for (int i = 0; i < 2; i++) {
        saved[i] = dup(1 + i);
        int fd = open(names[i], O_WRONLY | O_CREAT | O_TRUNC, 0666);
        dup2(fd, 1 + i);
        close(fd);
    }
    rt_cli_signal = 0;
    int code = netrt_main(&toy_model, argc, argv);
    fflush(stdout);
    fflush(stderr);
    for (int i = 0; i < 2; i++) {
        dup2(saved[i], 1 + i);
        close(saved[i]);
    }
    slurp(names[0], out_text, sizeof out_text);
    slurp(names[1], err_text, sizeof err_text);
    free(names[0]);
    free(names[1]);
    return code;
}

/* "--out=DIR/name" */
__attribute__((unused)) static const char *out_option(const char *name) {
    static char text[4][700];
    static int turn;
    char *p = text[turn++ & 3];
    snprintf(p, sizeof text[0], "--out=%s", in_dir(name));
    return p;
}

__attribute__((unused)) static int same_file(const char *a, const char *b) {
    long na, nb;
    unsigned char *pa = get_file(a, &na), *pb = get_file(b, &nb);
    int same = na >= 0 && na == nb && memcmp(pa, pb, (size_t)na) == 0;
    free(pa);
    free(pb);
    return same;
}

#endif
