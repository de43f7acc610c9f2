// A checksum of the same 4 KB again and again: a loop of a few instructions that is no spin.
#include <stdio.h>
#include <stdlib.h>
static unsigned char b[4096];
int main(int c, char **v) { unsigned s = atoi(v[1]); for (int i = 0; i < 4096; i++) b[i] = i * 7 + s; for (long k = 0; k < 600000; k++) for (int i = 0; i < 4096; i++) s = s * 31 + b[i]; printf("%u\n", s); }
