// A journal: append a record, make it safe, again.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
int main(int n, char **v) {
	char name[] = "journalXXXXXX", b[4096]; memset(b, 'x', sizeof b);
	int f = mkstemp(name); unlink(name);
	struct timespec a, z; clock_gettime(CLOCK_MONOTONIC, &a);
	do { if (write(f, b, 512 + atoi(v[1]) % 512) < 0 || fsync(f)) return 1; clock_gettime(CLOCK_MONOTONIC, &z); } while (z.tv_sec - a.tv_sec < 3);
}
