// One thread watches a variable that another sets when it has computed something.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
static atomic_int flag; static unsigned long x = 1; static long n;
static void *work(void *a) { for (long i = 0; i < n; i++) x = x * 6364136223846793005UL + i; flag = 1; return 0; }
int main(int c, char **v) { n = 1500000000L + atoi(v[1]) % 10 * 50000000L; pthread_t t; pthread_create(&t, 0, work, 0); while (!flag) ; pthread_join(t, 0); printf("%lu\n", x); }
