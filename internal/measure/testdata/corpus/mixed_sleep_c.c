// Half its time it computes, half it sleeps.
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
volatile uint64_t sink;
int main(int n, char **v) {
	uint64_t x = 5 + atoi(v[1]);
	for (int k = 0; k < 60; k++) { struct timespec a, z; clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
		do { for (int i = 0; i < 10000; i++) { x ^= x << 13; x ^= x >> 7; x ^= x << 17; } clock_gettime(CLOCK_THREAD_CPUTIME_ID, &z); } while ((z.tv_sec - a.tv_sec) * 1000000000L + z.tv_nsec - a.tv_nsec < 25000000L);
		usleep(25000); }
	sink = x;
}
