/* stub.c: formats whose readers are not written yet are refused. */
#include "import/im.h"
bool im_read_onnx(Im *im, const ImBytes *f, ImNet *n) {
    (void)f;
    (void)n;
    return im_fail(im, 4, "netc cannot read this format yet");
}
bool im_read_npy(Im *im, const char *n, const unsigned char *d, size_t s, ImOut *o) {
    (void)n;
    (void)d;
    (void)s;
    (void)o;
    return im_fail(im, 4, "netc cannot read this format yet");
}
bool im_read_npz(Im *im, const ImBytes *f, ImOut *o) {
    (void)f;
    (void)o;
    return im_fail(im, 4, "netc cannot read this format yet");
}
const ImBytes *im_prototxt(Im *im, const char *p) {
    (void)p;
    im_fail(im, 4, "netc cannot read this format yet");
    return NULL;
}
