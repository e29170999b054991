// SPDX-License-Identifier: Apache-2.0
// Forks while one thread flushes all streams, which holds libc's list of them, and others are in getline, which hold
// a stream and allocate. Each must come to its end, and the children can use streams of their own.
// BACKENDS: all
// ENV: ALLOC_SAMPLE_BYTES=1024
// SECONDS: 60
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>
#include "check.h"

#define FORKS 60
#define LINE_BYTES 20000

static atomic_int g_stop;
// Streams of memory: children share the position in a file, which fflush moves since glibc 2.43.
static char g_text[LINE_BYTES + 1];

static void* read_lines(void* unused) {
  FILE* stream = fmemopen(g_text, sizeof g_text, "r");
  while (!g_stop) {
    char* line = NULL;
    size_t bytes = 0;
    rewind(stream);
    CHECK(getline(&line, &bytes, stream) == LINE_BYTES + 1, "a line is short");
    free(line);
  }
  fclose(stream);
  return unused;
}

static void* flush_all(void* unused) {
  while (!g_stop) fflush(NULL);
  return unused;
}

int main(void) {
  memset(g_text, 'x', LINE_BYTES);
  g_text[LINE_BYTES] = '\n';
  pthread_t threads[3];
  pthread_create(&threads[0], NULL, read_lines, NULL);
  pthread_create(&threads[1], NULL, read_lines, NULL);
  pthread_create(&threads[2], NULL, flush_all, NULL);
  for (int i = 0; i < FORKS; i++) {
    pid_t child = fork();
    if (child == 0) {
      FILE* stream = fopen("/dev/null", "w");
      _exit(stream && fprintf(stream, "%d\n", i) > 0 && fclose(stream) == 0 && fflush(NULL) == 0 ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(status == 0, "child %d ended with status %x", i, status);
  }
  g_stop = 1;
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  return check_done();
}
