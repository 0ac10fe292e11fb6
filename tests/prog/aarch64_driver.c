/* aarch64_driver.c: runs the kernels of one program on another processor (tests/unit/test_aarch64.c).
 *
 * usage: driver JOB RESULT.  JOB holds sizes, tasks, slabs, inputs and labels as the test wrote them;
 * RESULT receives all slabs after every kernel.  Linked with an object that exports `kernels`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rt_abi.h"

extern const rt_kernel_fn kernels[];

static void *read_block(FILE *f, int64_t bytes) {
    void *at = aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64 + 64);
    if (!at || fread(at, 1, (size_t)bytes, f) != (size_t)bytes) {
        fprintf(stderr, "driver: the job is too short\n");
        exit(5);
    }
    return at;
}

int main(int argc, char **argv) {
    FILE *job = argc == 3 ? fopen(argv[1], "rb") : NULL;
    FILE *result = job ? fopen(argv[2], "wb") : NULL;
    if (!result)
        return 2;
    /* nkernels, bytes of: act, fix, param, state, scratch, input, labels */
    int64_t *size = read_block(job, 8 * (int64_t)sizeof *size);
    int64_t *tasks = read_block(job, size[0] * (int64_t)sizeof *tasks);
    rt_frame *frame = read_block(job, (int64_t)sizeof *frame);
    char *slab[4];
    for (int i = 0; i < 4; i++)
        slab[i] = read_block(job, size[1 + i]);
    frame->act = slab[0], frame->fix = slab[1], frame->param = slab[2], frame->state = slab[3];
    void *scratch = read_block(job, size[5]);
    frame->input[0] = read_block(job, size[6]);
    frame->label[0] = read_block(job, size[7]);
    for (int64_t k = 0; k < size[0]; k++) {
        int64_t half = tasks[k] / 2;
        if (size[5] >= 8)
            memset(scratch, 0xff, 8); /* as a thread begins a kernel */
        kernels[k](frame, half, tasks[k], scratch);
        kernels[k](frame, 0, half, scratch);
        for (int i = 0; i < 4; i++)
            if (fwrite(slab[i], 1, (size_t)size[1 + i], result) != (size_t)size[1 + i])
                return 5;
    }
    return fclose(result) == 0 ? 0 : 5;
}
