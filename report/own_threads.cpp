// SPDX-License-Identifier: Apache-2.0
#include "report/own_threads.hpp"

#include <errno.h>
#include <pthread.h>

#include "base/math.hpp"
#include "base/say.hpp"
#include "base/signal_mask.hpp"
#include "elf/loaded_objects.hpp"
#include "record/thread_state.hpp"

namespace mallard::report {
namespace {

void say_why_not(int error, std::size_t stack_bytes) noexcept {
  FixedText<256> why;
  if (error == EAGAIN) {
    why.add("the process may create no more threads, or has no room for its stack of ");
    why.add_unsigned(stack_bytes / 1024).add(" KiB (ulimit -u or -v, cgroup, seccomp)");
  } else {
    why.add("libc refuses one with a stack of ").add_unsigned(stack_bytes / 1024).add(" KiB: ");
    why.add(say::error_text(-error));
  }
  say::reporter_not_started(why.view());
}

}  // namespace

std::size_t own_stack_bytes(std::size_t bytes) noexcept {
  constexpr const char* kName = "__pthread_get_minstack";  // in libpthread before glibc 2.34
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  auto* least = elf::find_function<std::size_t(const pthread_attr_t*)>(
      elf::find_definer(elf::first_object(), kName), kName);
  const std::size_t taken = least ? least(&attributes) : 0;
  pthread_attr_destroy(&attributes);
  return align_up(bytes + taken, kPageBytes);
}

bool create_own_thread(void* (*run)(void*), void* stack, std::size_t stack_bytes) noexcept {
  record::InRecording in_recording;  // what libc allocates for it is not the host's
  // The thread inherits a full mask: the host's signals are for the host's threads.
  SignalsBlocked blocked;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  if (stack) pthread_attr_setstack(&attributes, stack, stack_bytes);
  else pthread_attr_setstacksize(&attributes, stack_bytes);
  pthread_t thread;
  const int error = pthread_create(&thread, &attributes, run, nullptr);
  pthread_attr_destroy(&attributes);
  if (error != 0) say_why_not(error, stack_bytes);
  return error == 0;
}

}  // namespace mallard::report
