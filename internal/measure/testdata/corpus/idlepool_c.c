// One thread computes; four wait on a condition that comes now and then.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
static int jobs, done;
static void *work(void *a) { pthread_mutex_lock(&m); while (!done) { while (!jobs && !done) pthread_cond_wait(&c, &m); if (jobs) jobs--; } pthread_mutex_unlock(&m); return 0; }
int main(int n, char **v) {
	pthread_t t[4]; for (int i = 0; i < 4; i++) pthread_create(&t[i], 0, work, 0);
	uint64_t x = 1 + atoi(v[1]);
	for (int k = 0; k < 10; k++) { for (long i = 0; i < 110000000L; i++) { x ^= x << 13; x ^= x >> 7; x ^= x << 17; } pthread_mutex_lock(&m); jobs++; pthread_cond_signal(&c); pthread_mutex_unlock(&m); }
	pthread_mutex_lock(&m); done = 1; pthread_cond_broadcast(&c); pthread_mutex_unlock(&m);
	for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
	printf("%d\n", (int)(x & 1));
}
