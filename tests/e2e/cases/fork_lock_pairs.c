// SPDX-License-Identifier: Apache-2.0
// Forks while two other threads hold two locks, for every pair of what has some: libc's malloc, its streams and their
// list, its loader, its thread stacks, the backend's arenas, and what mallard does itself (samples, the mapping log, the
// signal's action, a report). Each fork has to return, and the child must get at every lock.
// usage: fork_lock_pairs [FORKS]   of each pair
// BACKENDS: system jemalloc
// ENV: ALLOC_SAMPLE_BYTES=512
// SECONDS: 60
#include <dlfcn.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "check.h"

static _Atomic(int) g_first = -1, g_second = -1;  // kinds at work; -1 = none
static atomic_int g_stop;
static const char* g_library = "libutil.so.1";

#define LINE_BYTES 20000
// Streams of memory: children share the position in a file, which fflush moves since glibc 2.43.
static char g_text[LINE_BYTES + 1];

static void make_line(void) {
  memset(g_text, 'x', LINE_BYTES);
  g_text[LINE_BYTES] = '\n';
}

static void small_blocks(void) {
  void* some[64];
  for (int i = 0; i < 64; i++) some[i] = malloc((size_t)i * 40 + 1);
  for (int i = 0; i < 64; i++) free(some[i]);
}

static void large_blocks(void) {
  char* grows = malloc(1000);
  for (size_t bytes = 40000; bytes < 3000000; bytes *= 3) grows = realloc(grows, bytes);
  free(grows);
}

static void flush_all(void) { fflush(NULL); }

/// A long line: getline allocates several times while it holds the stream.
static void streams(void) {
  FILE* stream = fmemopen(g_text, sizeof g_text, "r");
  if (!stream) abort();
  for (int i = 0; i < 20; i++) {
    char* line = NULL;
    size_t bytes = 0;
    rewind(stream);
    if (getline(&line, &bytes, stream) != LINE_BYTES + 1) abort();
    free(line);
  }
  fclose(stream);
}

static void loader(void) {
  void* library = dlopen(g_library, RTLD_NOW);
  if (library) dlclose(library);
}

static int visit(struct dl_phdr_info* info, size_t size, void* count) {
  (void)info, (void)size;
  ++*(int*)count;
  return 0;
}
static void objects(void) {
  int count = 0;
  dl_iterate_phdr(visit, &count);
}

static void mappings(void) {
  void* p = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p != MAP_FAILED) munmap(p, 1 << 16);
}

static void handler(int signal) { (void)signal; }
static void actions(void) {
  struct sigaction action = {.sa_handler = handler};
  sigaction(SIGUSR2, &action, NULL);
  sigaction(SIGUSR1, &action, NULL);
}

static void report(void) {
  union sigval none = {0};
  sigqueue(getpid(), SIGUSR2, none);
  struct timespec moment = {0, 3000000};
  nanosleep(&moment, NULL);
}

static void give_back(void) { malloc_trim(0); }

static void* allocate(void* unused) {
  free(malloc(100));
  return unused;
}
static void threads(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, allocate, NULL) == 0) pthread_join(thread, NULL);
}

static const struct {
  const char* name;
  void (*work)(void);
} kKinds[] = {{"small blocks", small_blocks}, {"large blocks", large_blocks}, {"flush of all streams", flush_all},
              {"streams", streams},           {"dlopen", loader},             {"dl_iterate_phdr", objects},
              {"mmap", mappings},             {"sigaction", actions},         {"a report", report},
              {"malloc_trim", give_back},     {"threads", threads}};
enum { kKindCount = sizeof kKinds / sizeof kKinds[0] };

static void* at_work(void* mine) {
  const int kind = (int)(long)mine % kKindCount, second = (int)(long)mine / kKindCount;
  struct timespec moment = {0, 500000};
  while (!g_stop)
    if ((second ? g_second : g_first) == kind) kKinds[kind].work();
    else nanosleep(&moment, NULL);
  return NULL;
}

static void hangs(int unused) {
  (void)unused;
  char said[200];
  const int n = snprintf(said, sizeof said, "FAIL fork hangs: %s and %s\n", kKinds[g_first].name, kKinds[g_second].name);
  (void)!write(2, said, (size_t)n);
  _exit(3);
}

/// The loader is left alone: glibc 2.36 does not bring its lock over a fork, with mallard or without.
static int child(void) {
  for (int kind = 0; kind < kKindCount; kind++)
    if (kKinds[kind].work != report && kKinds[kind].work != loader && kKinds[kind].work != objects) kKinds[kind].work();
  return 0;
}

static void fork_once(void) {
  const pid_t pid = fork();
  if (pid == 0) {
    signal(SIGALRM, SIG_DFL);
    alarm(30);
    _exit(child());
  }
  int status = -1;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}  // by a request
  CHECK(pid > 0 && status == 0, "a child ended with status %x: %s and %s", status,
        kKinds[g_first].name, kKinds[g_second].name);
}

int main(int argc, char** argv) {
  const int forks = argc > 1 ? atoi(argv[1]) : 4;
  make_line();
  actions();
  signal(SIGALRM, hangs);
  pthread_t all[2 * kKindCount];
  for (long i = 0; i < 2 * kKindCount; i++) pthread_create(&all[i], NULL, at_work, (void*)i);
  for (int first = 0; first < kKindCount; first++)
    for (int second = first; second < kKindCount; second++) {
      alarm(50);
      g_first = first;
      g_second = second;
      struct timespec moment = {0, 1500000};
      nanosleep(&moment, NULL);
      for (int i = 0; i < forks; i++) fork_once();
    }
  g_stop = 1;
  for (int i = 0; i < 2 * kKindCount; i++) pthread_join(all[i], NULL);
  return check_done();
}
