// SPDX-License-Identifier: Apache-2.0
// Every form of operator new and delete: plain, array, nothrow, aligned, sized, sized aligned; bad_alloc
// passes through the preload's frames, new_handler is called.
// BACKENDS: all
#include <new>
#include <string>
#include <vector>
#include "check.h"

namespace {

int g_handler_calls = 0;

void handler() {
  if (++g_handler_calls == 3) std::set_new_handler(nullptr);
}

template <class Call>
bool throws_bad_alloc(Call call) {
  try {
    opaque_pointer(call());
  } catch (const std::bad_alloc&) {
    return true;
  }
  return false;
}

void plain_forms() {
  for (std::size_t size : kSizes) {
    void* blocks[] = {::operator new(size), ::operator new[](size), ::operator new(size, std::nothrow),
                      ::operator new[](size, std::nothrow), ::operator new(size), ::operator new[](size)};
    for (void* block : blocks) {
      CHECK(block != nullptr && aligned_to(block, natural_alignment(size)), "new(%zu) = %p", size, block);
      fill(block, size < 5000 ? size : 5000, 4);
    }
    for (void* block : blocks) CHECK(holds(block, size < 5000 ? size : 5000, 4), "new(%zu)", size);
    ::operator delete(blocks[0]);
    ::operator delete[](blocks[1]);
    ::operator delete(blocks[2], std::nothrow);
    ::operator delete[](blocks[3], std::nothrow);
    ::operator delete(blocks[4], size);
    ::operator delete[](blocks[5], size);
  }
  ::operator delete(opaque_pointer(nullptr));
  ::operator delete[](opaque_pointer(nullptr));
  ::operator delete(opaque_pointer(nullptr), std::size_t{8});
}

void aligned_forms() {
  for (std::size_t alignment = 1; alignment <= (1u << 20); alignment *= 2) {
    const auto align = std::align_val_t{alignment};
    for (std::size_t size : kSizes) {
      if (size > 1100000) continue;
      void* blocks[] = {::operator new(size, align), ::operator new[](size, align),
                        ::operator new(size, align, std::nothrow), ::operator new[](size, align, std::nothrow),
                        ::operator new(size, align), ::operator new[](size, align)};
      for (void* block : blocks) {
        CHECK(block != nullptr && aligned_to(block, alignment), "new(%zu, align %zu) = %p", size, alignment, block);
        if (size < 5000) fill(block, size, 6);
      }
      for (void* block : blocks) CHECK(size >= 5000 || holds(block, size, 6), "new(%zu, align %zu)", size, alignment);
      ::operator delete(blocks[0], align);
      ::operator delete[](blocks[1], align);
      ::operator delete(blocks[2], align, std::nothrow);
      ::operator delete[](blocks[3], align, std::nothrow);
      ::operator delete(blocks[4], size, align);
      ::operator delete[](blocks[5], size, align);
    }
  }
}

void failures() {
  const std::size_t too_big[] = {TOO_BIG, SIZE_MAX, SIZE_MAX - 100};
  for (std::size_t huge : too_big) {
    const std::size_t size = opaque(huge);
    const auto align = std::align_val_t{64};
    CHECK(throws_bad_alloc([=] { return ::operator new(size); }), "new(%#zx)", size);
    CHECK(throws_bad_alloc([=] { return ::operator new[](size); }), "new[](%#zx)", size);
    CHECK(throws_bad_alloc([=] { return ::operator new(size, align); }), "aligned new(%#zx)", size);
    CHECK(throws_bad_alloc([=] { return ::operator new[](size, align); }), "aligned new[](%#zx)", size);
    CHECK(!::operator new(size, std::nothrow), "nothrow new(%#zx)", size);
    CHECK(!::operator new[](size, std::nothrow), "nothrow new[](%#zx)", size);
    CHECK(!::operator new(size, align, std::nothrow), "aligned nothrow new(%#zx)", size);
    CHECK(!::operator new[](size, align, std::nothrow), "aligned nothrow new[](%#zx)", size);
  }
  std::set_new_handler(handler);
  CHECK(throws_bad_alloc([] { return ::operator new(opaque(TOO_BIG)); }), "new with a handler");
  CHECK(g_handler_calls == 3, "new_handler was called %d times instead of 3", g_handler_calls);
  g_handler_calls = 0;
  std::set_new_handler(handler);
  CHECK(!::operator new(opaque(TOO_BIG), std::nothrow), "nothrow new with a handler");
  CHECK(g_handler_calls == 3, "new_handler was called %d times instead of 3 (nothrow)", g_handler_calls);
  g_handler_calls = 0;
  std::set_new_handler([] { g_handler_calls = 100; throw std::bad_alloc(); });
  CHECK(throws_bad_alloc([] { return ::operator new(opaque(TOO_BIG)); }), "a handler that throws");
  CHECK(!::operator new(opaque(TOO_BIG), std::nothrow), "nothrow new with a handler that throws");
  CHECK(g_handler_calls == 100, "the throwing handler was not called");
  std::set_new_handler(nullptr);
}

struct alignas(128) Wide {
  char bytes[384];
};

}  // namespace

int main() {
  plain_forms();
  aligned_forms();
  failures();
  std::vector<std::string> words;
  for (int i = 0; i < 20000; i++) words.push_back(std::string(static_cast<std::size_t>(i % 300), 'x'));
  for (int i = 0; i < 300; i++) {
    Wide* wide = new Wide[3];
    CHECK(aligned_to(wide, 128), "new Wide[3] = %p", static_cast<void*>(wide));
    delete[] wide;
  }
  try {
    words.reserve(opaque(SIZE_MAX / 64));
    CHECK(false, "vector::reserve succeeded");
  } catch (const std::exception&) {
  }
  return check_done();
}
