/* memcpy of one block to another, over and over: the limit for handing over a payload by copying it once.
 *
 *   memcpy MB SECONDS   {"call": median ms, "rate": GB/s at the median}
 *
 * Both blocks are touched before the clock starts. 1 MB stays in the cache ("hot"), 16 and 256 MB do not. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST = 1 << 20 };
static double took[MOST];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6; /* ms */
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc != 3) { fprintf(stderr, "usage: memcpy MB SECONDS\n"); return 2; }
    size_t size = (size_t)atol(argv[1]) << 20;
    char *from = malloc(size), *to = malloc(size);
    if (!from || !to) { fprintf(stderr, "memcpy: no memory for two blocks of %s MB\n", argv[1]); return 1; }
    memset(from, 1, size);
    memset(to, 2, size);
    double until = now() + atof(argv[2]) * 1e3;
    int n = 0;
    while (n < MOST && (n < 3 || now() < until)) {
        double t = now();
        memcpy(to, from, size);
        __asm__ volatile("" : : "r"(to) : "memory"); /* keep the copy: the compiler must think that it is read */
        took[n++] = now() - t;
    }
    qsort(took, n, sizeof took[0], ascending);
    printf("{\"figures\": {\"call\": %.6f, \"rate\": %.3f}}\n", took[n / 2], size / 1e6 / took[n / 2]);
    return 0;
}
