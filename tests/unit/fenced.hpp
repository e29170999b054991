// SPDX-License-Identifier: Apache-2.0
// Memory that ends where nothing can be read: who looks at one element too many ends the test.
#pragma once

#include <sys/mman.h>

#include <cstring>
#include <initializer_list>
#include <span>
#include <type_traits>

#include "base/attributes.hpp"
#include "tests/unit/catch.hpp"

template <class T>
class Fenced {
 public:
  Fenced(std::initializer_list<T> elements) : count_(elements.size()) {
    static_assert(std::is_trivially_copyable_v<T>);
    const std::size_t bytes = count_ * sizeof(T);
    bytes_ = mallard::align_up(bytes, mallard::kPageBytes) + mallard::kPageBytes;
    map_ = static_cast<char*>(mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REQUIRE(static_cast<void*>(map_) != MAP_FAILED);
    char* const fence = map_ + bytes_ - mallard::kPageBytes;
    REQUIRE(mprotect(fence, mallard::kPageBytes, PROT_NONE) == 0);
    first_ = reinterpret_cast<T*>(fence - bytes);
    std::memcpy(static_cast<void*>(first_), elements.begin(), bytes);
  }
  ~Fenced() { munmap(map_, bytes_); }
  Fenced(const Fenced&) = delete;
  Fenced& operator=(const Fenced&) = delete;

  std::span<T> all() const { return {first_, count_}; }

 private:
  std::size_t count_, bytes_;
  char* map_;
  T* first_;
};
