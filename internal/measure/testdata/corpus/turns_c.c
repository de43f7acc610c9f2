// Four threads take turns with a condition variable; each holds the mutex while it sleeps.
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER; static pthread_cond_t c = PTHREAD_COND_INITIALIZER; static int turn, us;
static void *work(void *a) { for (int i = 0; i < 36; i++) { pthread_mutex_lock(&m); while (turn % 4 != (long)a) pthread_cond_wait(&c, &m); usleep(us); turn++; pthread_cond_broadcast(&c); pthread_mutex_unlock(&m); } return 0; }
int main(int n, char **v) { us = 17000 + atoi(v[1]) % 7 * 1000; pthread_t t[4]; for (long i = 0; i < 4; i++) pthread_create(t + i, 0, work, (void *)i); for (int i = 0; i < 4; i++) pthread_join(t[i], 0); }
