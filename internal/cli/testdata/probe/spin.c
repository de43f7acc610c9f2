// A program that goes in circles, and does what one that is probed may do meanwhile: its threads end, it starts further ones and children, it executes another program.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile int over;
static volatile int never;

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

// A bounded circle: nothing in it changes but what is looked at.
static void circle(void) {
	while (!over && !never) {
	}
}

static void *spin(void *x) {
	circle();
	return x;
}

static void nap(double s) {
	struct timespec t = {(time_t)s, (long)((s - (time_t)s) * 1e9)};
	while (nanosleep(&t, &t) != 0) {
	}
}

static char **self;

static void *replace(void *x) {
	char *next[] = {self[0], "end", NULL};
	nap(1);
	execv("/proc/self/exe", next);
	_exit(9);
	return x;
}

static void *finish(void *x) {
	nap(1.5);
	_exit(7);
	return x;
}

int main(int argc, char **argv) {
	pthread_t a, b;
	self = argv;
	if (argc < 2) return 64;
	if (strcmp(argv[1], "for-ever") == 0) circle();
	if (strcmp(argv[1], "end") == 0) { // what "exec" becomes
		pthread_create(&a, NULL, finish, NULL);
		circle();
	}
	if (strcmp(argv[1], "threads") == 0) { // two at a time, for a moment each, beside one that stays
		double end = now() + 2;
		int stay = 0;
		pthread_create(&b, NULL, finish, NULL);
		while (now() < end) {
			pthread_t some[2];
			over = 0;
			for (int i = 0; i < 2; i++) pthread_create(&some[i], NULL, spin, NULL);
			nap(stay++ % 3 == 0 ? .15 : .02);
			over = 1;
			for (int i = 0; i < 2; i++) pthread_join(some[i], NULL);
		}
	}
	if (strcmp(argv[1], "exec") == 0) {
		pthread_create(&a, NULL, spin, NULL);
		pthread_create(&b, NULL, replace, NULL);
		circle();
	}
	if (strcmp(argv[1], "leader") == 0) { // its first thread ends before the others
		pthread_create(&a, NULL, spin, NULL);
		pthread_create(&b, NULL, finish, NULL);
		nap(.7);
		pthread_exit(NULL);
	}
	if (strcmp(argv[1], "children") == 0) {
		double end = now() + 1.5;
		pthread_create(&a, NULL, spin, NULL);
		while (now() < end) {
			pid_t p = fork();
			if (p == 0) {
				pthread_create(&b, NULL, spin, NULL);
				nap(.01);
				_exit(0);
			}
			waitpid(p, NULL, 0);
		}
		_exit(7);
	}
	if (strcmp(argv[1], "orphan") == 0) { // it leaves one behind that goes on
		if (fork() == 0) {
			alarm(20);
			circle();
		}
		pthread_create(&b, NULL, finish, NULL);
		circle();
	}
	return 0;
}
