// SPDX-License-Identifier: Apache-2.0
// Where a signal handler may create a thread: not inside libc, libpthread, the loader, mallard (which is the
// test itself here) or the backend. Linked with a stand-in for a libpthread that is an object of its own.
#include "interpose/safe_point.hpp"

#include <dlfcn.h>

#include <cstdint>

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
