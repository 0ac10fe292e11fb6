/* outfile.c: atomic writing (outfile.h). */
#define _GNU_SOURCE
#include "base/outfile.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool outfile_is_special(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && !S_ISREG(st.st_mode);
}

static bool refuse(const OutFile *out, int error, char *why, size_t n) {
    snprintf(why, n, "cannot write '%s': %s", out->path, strerror(error));
    return false;
}

bool outfile_open(OutFile *out, const char *path, char *why, size_t n) {
    *out = (OutFile){.stream = stdout};
    bool standard = !path || strcmp(path, "-") == 0;
    int length = snprintf(out->path, sizeof out->path, "%s", standard ? "standard output" : path);
    if (standard)
        return true;
    if (length >= (int)sizeof out->path)
        return refuse(out, ENAMETOOLONG, why, n);
    if (outfile_is_special(path)) {
        out->stream = fopen(path, "we");
    } else {
        snprintf(out->temp, sizeof out->temp, "%s.tmp%d", path, (int)getpid());
        out->stream = fopen(out->temp, "wxe");
    }
    return out->stream || refuse(out, errno, why, n);
}

bool outfile_close(OutFile *out, char *why, size_t n) {
    bool ok = fflush(out->stream) == 0 && !ferror(out->stream);
    int error = errno;
    if (out->stream == stdout)
        return ok || refuse(out, error, why, n);
    if (ok && out->temp[0] && fsync(fileno(out->stream)) != 0)
        ok = false, error = errno;
    if (fclose(out->stream) != 0 && ok)
        ok = false, error = errno;
    if (ok && out->temp[0] && rename(out->temp, out->path) != 0)
        ok = false, error = errno;
    if (ok)
        return true;
    if (out->temp[0])
        unlink(out->temp);
    return refuse(out, error, why, n);
}
