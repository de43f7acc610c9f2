// Polls a socket that has nothing, without waiting.
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
int main(int n, char **v) {
	int s[2]; char b[1]; if (socketpair(AF_UNIX, SOCK_STREAM, 0, s)) return 1; struct timespec a, z; clock_gettime(CLOCK_MONOTONIC, &a);
	do { for (int i = 0; i < 1000 + atoi(v[1]) % 100; i++) if (recv(s[0], b, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN) return 1; clock_gettime(CLOCK_MONOTONIC, &z); } while (z.tv_sec - a.tv_sec < 3);
}
