// Six threads share a mutex; whoever has it sleeps.
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER; static int us;
static void *work(void *a) { for (int i = 0; i < 50; i++) { pthread_mutex_lock(&m); usleep(us); pthread_mutex_unlock(&m); usleep(100); } return 0; }
int main(int n, char **v) { us = 8000 + atoi(v[1]) % 5 * 1000; pthread_t t[6]; for (int i = 0; i < 6; i++) pthread_create(&t[i], 0, work, 0); for (int i = 0; i < 6; i++) pthread_join(t[i], 0); }
