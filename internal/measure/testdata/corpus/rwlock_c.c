// Five writers, one at a time; whoever writes sleeps.
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
static pthread_rwlock_t m = PTHREAD_RWLOCK_INITIALIZER; static int us;
static void *work(void *a) { for (int i = 0; i < 60; i++) { pthread_rwlock_wrlock(&m); usleep(us); pthread_rwlock_unlock(&m); } return 0; }
int main(int n, char **v) { us = 9000 + atoi(v[1]) % 3 * 1000; pthread_t t[5]; for (int i = 0; i < 5; i++) pthread_create(&t[i], 0, work, 0); for (int i = 0; i < 5; i++) pthread_join(t[i], 0); }
