// Eight threads compute.
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
static long rounds; volatile uint64_t sink;
static void *work(void *a) { uint64_t x = 7 + (uint64_t)a; for (long i = 0; i < rounds; i++) { x ^= x << 13; x ^= x >> 7; x ^= x << 17; } sink += x; return 0; }
int main(int n, char **v) { pthread_t t[8]; rounds = 300000000L + atoi(v[1]) % 5 * 20000000L; for (long i = 0; i < 8; i++) pthread_create(&t[i], 0, work, (void *)i); for (int i = 0; i < 8; i++) pthread_join(t[i], 0); }
