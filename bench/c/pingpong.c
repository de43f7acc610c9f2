/* What a unix stream socket between two processes gives when nothing but the kernel is in the way.
 *
 *   pingpong roundtrip SECONDS   one 64-byte message in flight: {"p50": µs, "p99": µs}
 *   pingpong batched SECONDS     256 in flight, as many as fit in a write: {"rate": thousand messages/s}
 *
 * The child echoes and ends with the socket. Nothing is pinned to a core: no candidate of the benchmark is. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 64, WINDOW = 256, MOST = 1 << 20 };

static char out[SIZE * WINDOW], in[SIZE * WINDOW];
static double took[MOST];

static void die(const char *what) { perror(what); exit(1); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3; /* µs */
}

static void put(int fd, const char *p, size_t n) {
    while (n > 0) {
        ssize_t k = write(fd, p, n);
        if (k <= 0) die("write to the socket");
        p += k, n -= k;
    }
}

static size_t get(int fd, char *p, size_t most) {
    ssize_t k = read(fd, p, most);
    if (k < 0) die("read from the socket");
    return k;
}

/* get, for the parent: there the end of the stream means that the child has died. */
static size_t answer(int fd, char *p, size_t most) {
    size_t k = get(fd, p, most);
    if (k == 0) { fprintf(stderr, "the echoing child ended early\n"); exit(1); }
    return k;
}

static void echo(int fd) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (size_t n; (n = get(fd, in, sizeof in)) > 0;) put(fd, in, n);
    _exit(0);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void roundtrip(int fd, double until) {
    int n = 0;
    for (int i = 0; i < 1000 || now() < until; i++) {
        double t = now();
        put(fd, out, SIZE);
        for (size_t have = 0; have < SIZE;) have += answer(fd, in, SIZE - have);
        if (i >= 200 && n < MOST) took[n++] = now() - t; /* the first ones warm up */
    }
    qsort(took, n, sizeof took[0], ascending);
    printf("{\"figures\": {\"p50\": %.3f, \"p99\": %.3f}}\n", took[n / 2], took[(int)(n * 0.99)]);
}

static void batched(int fd, double until) {
    size_t sent = 0, back = 0; /* bytes */
    double start = now();
    while (now() < until) {
        size_t room = sizeof out - (sent - back);
        room -= room % SIZE;
        if (room > 0) put(fd, out, room), sent += room;
        back += answer(fd, in, sizeof in);
    }
    printf("{\"figures\": {\"rate\": %.3f}}\n", back / SIZE / (now() - start) * 1e3);
}

int main(int argc, char **argv) {
    int fd[2];
    if (argc != 3) { fprintf(stderr, "usage: pingpong roundtrip|batched SECONDS\n"); return 2; }
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) < 0) die("socketpair");
    pid_t child = fork();
    if (child < 0) die("fork");
    if (child == 0) { close(fd[0]); echo(fd[1]); }
    close(fd[1]);
    double until = now() + atof(argv[2]) * 1e6;
    if (strcmp(argv[1], "roundtrip") == 0) roundtrip(fd[0], until); else batched(fd[0], until);
    close(fd[0]);
    return waitpid(child, NULL, 0) == child ? 0 : 1;
}
