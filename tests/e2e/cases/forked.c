// SPDX-License-Identifier: Apache-2.0
// Forks a child (double fork through daemon(3) with the argument 'daemon') and prints its pid. The child
// says nothing and waits until it is killed; the parent waits for a line.
#include <unistd.h>
#include "reports.h"

static void* g_blocks[1500];

__attribute__((noinline, noclone)) void allocate_in_parent(void) {
  for (int i = 0; i < 1000; i++) memset(g_blocks[i] = malloc(8000), 1, 8000);
}

__attribute__((noinline, noclone)) void allocate_in_child(void) {
  for (int i = 1000; i < 1500; i++) memset(g_blocks[i] = malloc(8000), 1, 8000);
}

int main(int count, char** words) {
  allocate_in_parent();
  if (count > 2 && strcmp(words[1], "daemon") == 0) {
    int file = open(words[2], O_WRONLY | O_CREAT, 0600);
    if (daemon(0, 0) != 0) return 5;
    allocate_in_child();
    dprintf(file, "%d\n", (int)getpid());
    for (;;) pause_ms(1000);
  }
  int done[2];
  char byte = 0;
  if (pipe(done) != 0) return 5;
  pid_t child = fork();
  if (child == 0) {
    allocate_in_child();
    CHECK(write(done[1], &byte, 1) == 1, "write");
    for (;;) pause_ms(1000);
  }
  CHECK(read(done[0], &byte, 1) == 1, "read");
  printf("ready %d\n", (int)child);
  fflush(stdout);
  char text[100];
  ssize_t got;
  while ((got = read(0, text, sizeof text)) < 0 && errno == EINTR) {
  }
  return check_done();
}
