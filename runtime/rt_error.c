/* rt_error.c: recording of failures (see rt_error.h).
 *
 * ensures: err->text always ends with 0; a text that does not fit is cut at a UTF-8 boundary.
 */
#include "rt_error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int rt_fail(rt_error *err, int code, const char *format, ...) {
    if (!err)
        return code;
    if (err->code != NETRT_OK)
        return err->code;
    err->code = code;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    if (n < 0)
        snprintf(err->text, sizeof err->text, "error %d", code);
    if (n >= (int)sizeof err->text) {
        size_t end = sizeof err->text - 1;
        while (end > 0 && ((unsigned char)err->text[end - 1] & 0xC0) == 0x80)
            end--;
        if (end > 0 && (unsigned char)err->text[end - 1] >= 0xC0)
            end--;
        err->text[end] = 0;
    }
    return code;
}

int rt_advise(rt_error *err, const char *format, ...) {
    if (!err)
        return NETRT_OK;
    size_t used = strlen(err->text);
    if (err->code == NETRT_OK || strstr(err->text, "\nhelp: ") || used + 16 > sizeof err->text)
        return err->code;
    memcpy(err->text + used, "\nhelp: ", 8);
    va_list args;
    va_start(args, format);
    if (vsnprintf(err->text + used + 7, sizeof err->text - used - 7, format, args) < 0)
        err->text[used] = 0;
    va_end(args);
    return err->code;
}
