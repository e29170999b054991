// SPDX-License-Identifier: Apache-2.0
// Holds blocks of mimalloc, which is linked in under its own names, and more of the C library's malloc; of some of those it
// frees all but each eighth. With the argument "headers" it keeps a list of small blocks of mimalloc instead, in which numbers
// at the beginning of some pages are what glibc writes in front of a block that it maps by itself.
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void* mi_malloc(size_t);
void mi_free(void*);

enum { kInMimalloc = 8000, kInLibc = 30000, kScattered = 16000, kBytes = 1000, kListed = 100000 };
static char* in_mimalloc[kInMimalloc];
static char* in_libc[kInLibc];
static char* scattered[kScattered];

__attribute__((noinline)) static void keep_in_mimalloc(void) {
  for (int i = 0; i < kInMimalloc; i++) memset(in_mimalloc[i] = mi_malloc(kBytes), 1, kBytes);
}

__attribute__((noinline)) static void keep_in_libc(void) {
  for (int i = 0; i < kInLibc; i++) memset(in_libc[i] = malloc(kBytes), 1, kBytes);
}

__attribute__((noinline)) static void scatter_in_libc(void) {
  for (int i = 0; i < kScattered; i++) memset(scattered[i] = malloc(kBytes), 1, kBytes);
  for (int i = 0; i < kScattered; i++)
    if (i % 8 != 7) {
      free(scattered[i]);
      scattered[i] = NULL;
    }
}

struct link {
  size_t zero, size;
  struct link* next;
};
static struct link* list;

__attribute__((noinline)) static void keep_headers(void) {
  for (int i = 0; i < kListed; i++) {
    struct link* made = mi_malloc(sizeof *made);
    memset(made, 0, sizeof *made);
    if ((size_t)made % 0x40000 == 0x3000) made->size = 0x18000 | 2;
    made->next = list;
    list = made;
  }
}

int main(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "later") == 0) {
    puts("waiting");
    fflush(stdout);
    getchar();
  }
  if (argc > 1 && strcmp(argv[1], "headers") == 0) {
    keep_headers();
    puts("ready");
    fflush(stdout);
    return getchar() == EOF && list ? 0 : 1;
  }
  keep_in_mimalloc();
  keep_in_libc();
  scatter_in_libc();
  puts("ready");
  fflush(stdout);
  while (getchar() != EOF) continue;
  mi_free(in_mimalloc[0]);
  puts(in_mimalloc[1][0] + in_libc[0][0] + scattered[7][0] == 3 ? "ok" : "lost");
  return 0;
}
