// SPDX-License-Identifier: Apache-2.0
// Loaded and unloaded by dlopened.c: allocates in its constructor, in a call, and in its destructor.
#include <map>
#include <mutex>
#include <string>

namespace {
std::mutex g_mutex;  // the threads share one instance of the library
std::map<int, std::string>* g_map = nullptr;
__attribute__((constructor)) void opened() { g_map = new std::map<int, std::string>; }
__attribute__((destructor)) void closed() { delete g_map; }
}  // namespace

extern "C" char* library_work(int count) {
  std::lock_guard<std::mutex> guard(g_mutex);
  for (int i = 0; i < count; i++) (*g_map)[i] = std::string(static_cast<std::size_t>(i % 100), 'q');
  return new char[64]();
}
