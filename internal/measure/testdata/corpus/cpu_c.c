#include <stdio.h>
#include <stdlib.h>
#include <stdint.h>
int main(int c, char **v) { uint64_t x = 88172645463325252ull + atoi(v[1]); for (long i = 0; i < 300000000L + atoi(v[1]) % 7 * 10000000L; i++) { x ^= x << 13; x ^= x >> 7; x ^= x << 17; } printf("%d\n", (int)(x & 1)); }
