// SPDX-License-Identifier: Apache-2.0
// Where a signal handler may create a thread: not inside libc, libpthread, the loader, mallard (which is the
// test itself here) or the backend. Linked with a stand-in for a libpthread that is an object of its own.
#include "interpose/safe_point.hpp"

#include <dlfcn.h>
#include <link.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "catch.hpp"

using namespace mallard::interpose;

namespace {

bool is_safe(const void* pc) {
  ucontext_t context{};
  context.uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(reinterpret_cast<std::uintptr_t>(pc));
  return is_safe_point(&context);
}

bool is_safe_in(const char* function) {
  const void* pc = dlsym(RTLD_DEFAULT, function);
  REQUIRE(pc);
  return is_safe(pc);
}

}  // namespace

namespace {

/// Right behind the system call of a function of libc's that loads its number as most do; nullptr if there is none.
const void* behind_call_of(const char* function) {
  const auto* code = static_cast<const unsigned char*>(dlsym(RTLD_DEFAULT, function));
  REQUIRE(code);
  Dl_info object;
  void* symbol = nullptr;
  REQUIRE(dladdr1(code, &object, &symbol, RTLD_DL_SYMENT) != 0);
  for (std::size_t at = 5; at + 1 < static_cast<const ElfW(Sym)*>(symbol)->st_size; ++at)
    if (code[at] == 0x0f && code[at + 1] == 0x05 && code[at - 5] == 0xb8) return code + at + 2;
  return nullptr;
}

}  // namespace

TEST_CASE("safe point: behind a system call that waits, and behind no other") {
  safe_point_init(nullptr);
  int met = 0;
  for (const char* waits : {"poll", "epoll_wait", "flock"}) {
    const void* behind = behind_call_of(waits);
    if (!behind) continue;  // glibc 2.41 makes the calls that end with a cancelled thread in one place, for any number
    ++met;
    CHECK(is_safe(behind));
    CHECK_FALSE(is_safe(static_cast<const char*>(behind) + 1));
  }
  CHECK(met > 0);
  for (const char* does_not : {"unlink", "munmap", "mprotect"}) {
    const void* behind = behind_call_of(does_not);
    REQUIRE(behind);
    CHECK_FALSE(is_safe(behind));
  }
}

TEST_CASE("safe point: not where the locks of pthread_create may be held") {
  void* library = dlopen(STACK_LIB_SMALL, RTLD_NOW);
  REQUIRE(library);
  const void* elsewhere = dlsym(library, "stack_lib_call");
  REQUIRE(elsewhere);

  safe_point_init(nullptr);
  CHECK_FALSE(is_safe_in("abort"));                   // libc
  CHECK_FALSE(is_safe_in("__pthread_get_minstack"));  // libpthread
  CHECK_FALSE(is_safe_in("__tls_get_addr"));          // the loader
  CHECK_FALSE(is_safe(reinterpret_cast<const void*>(&safe_point_init)));  // mallard
  CHECK(is_safe(elsewhere));

  safe_point_init(static_cast<const link_map*>(library));  // the backend
  CHECK_FALSE(is_safe(elsewhere));
}
