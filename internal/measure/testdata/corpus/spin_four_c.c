// Four threads watch a variable that a fifth sets later.
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
static atomic_int flag;
static void *watch(void *a) { while (!flag) ; return 0; }
int main(int c, char **v) { pthread_t t[4]; for (int i = 0; i < 4; i++) pthread_create(t + i, 0, watch, 0); usleep(2500000 + atoi(v[1]) % 10 * 50000); flag = 1; for (int i = 0; i < 4; i++) pthread_join(t[i], 0); }
