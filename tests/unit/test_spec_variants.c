/* test_spec_variants.c: every net and variant of specs/ as mathematics (spec_net.h).
 *
 * Gradients of all of them in as many directions as fit in half a second, compiled code of each
 * file's first two; NETC_TEST_ALL=1 does everything with everything (about ten minutes),
 * NETC_TEST_SPEC=vgg.net does it with one file.
 * ctest-labels: slow pair
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spec_net.h"
#include "suite.h"

typedef struct Share { /* of one worker: every so many nets */
    int next, mine, workers, bad;
    bool all;
} Share;

static void one(const char *path, const char *net, int nth, void *data) {
    Share *s = data;
    if (s->next++ % s->workers != s->mine)
        return;
    s->bad += spec_net(path, net, s->all ? 1e6 : 0.4,
                       s->all || nth < 2 ? SPEC_COMPILE : SPEC_INTERPRET) != 0;
}

static void every_net(void) {
    const char *only = getenv("NETC_TEST_SPEC");
    bool all = only || getenv("NETC_TEST_ALL");
    int workers = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? 2 : 1, status;
    fflush(stdout);
    for (int w = 0; w < workers; w++) {
        pid_t child = fork();
        CU_ASSERT_FATAL(child >= 0);
        if (child == 0) {
            Share s = {.mine = w, .workers = workers, .all = all};
            int nets = spec_each(only, one, &s);
            fflush(stdout);
            _exit(nets == 0 || s.bad != 0);
        }
    }
    while (wait(&status) > 0)
        CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

SUITE_MAIN(TEST(every_net))
