// Watches a variable that another thread sets later.
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
static volatile int flag; static int us;
static void *later(void *a) { usleep(us); flag = 1; return 0; }
int main(int n, char **v) { us = 2500000 + atoi(v[1]) % 10 * 50000; pthread_t t; pthread_create(&t, 0, later, 0); while (!flag) ; pthread_join(t, 0); }
