// Takes memory, touches it, gives it back.
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
int main(int n, char **v) {
	size_t size = (32 + atoi(v[1]) % 32) << 20; struct timespec a, z; clock_gettime(CLOCK_MONOTONIC, &a);
	do { char *p = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); if (p == MAP_FAILED) return 1; madvise(p, size, MADV_NOHUGEPAGE);
		for (size_t i = 0; i < size; i += 4096) p[i] = 1; munmap(p, size); clock_gettime(CLOCK_MONOTONIC, &z); } while (z.tv_sec - a.tv_sec < 3);
}
