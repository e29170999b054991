// SPDX-License-Identifier: Apache-2.0
// Destructors of pthread keys and of C++ thread_locals allocate and free, in threads and at the end.
// BACKENDS: all
// STDOUT: ok\n(.*\n)*last destructor
#include <pthread.h>
#include <string>
#include <thread>
#include <vector>
#include "check.h"

namespace {

pthread_key_t g_key;
int g_key_runs = 0;

void at_key_end(void* block) {
  free(block);
  void* other = malloc(777);
  fill(other, 777, 1);
  other = realloc(other, 70000);
  CHECK(holds(other, 777, 1), "realloc in a key destructor");
  int runs = __atomic_add_fetch(&g_key_runs, 1, __ATOMIC_RELAXED);
  if (runs % 3 == 0) {
    pthread_setspecific(g_key, other);  // one more round of destructors
  } else {
    free(other);
  }
}

struct Holder {
  std::vector<std::string> words;
  bool is_main = false;
  ~Holder() {
    for (int i = 0; i < 500; i++) words.push_back(std::string(static_cast<std::size_t>(i), 'z'));
    words.clear();
    words.shrink_to_fit();
    if (is_main) fputs("last destructor\n", stdout);
  }
};

thread_local Holder t_holder;

}  // namespace

int main() {
  pthread_key_create(&g_key, at_key_end);
  t_holder.is_main = true;
  for (int round = 0; round < 20; round++) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; i++) {
      threads.emplace_back([i] {
        t_holder.words.push_back("thread " + std::to_string(i));
        pthread_setspecific(g_key, malloc(100 + static_cast<std::size_t>(i)));
      });
    }
    for (auto& thread : threads) thread.join();
  }
  CHECK(g_key_runs >= 160, "key destructors ran %d times", g_key_runs);
  return check_done();
}
