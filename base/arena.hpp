// SPDX-License-Identifier: Apache-2.0
// Memory of one report: grows in chunks from the kernel, is never reused, and goes back as a whole.
// Bounded, so that a report can never eat the machine; every user must cope with nullptr.
#pragma once

#include <cstddef>
#include <span>

#include "base/attributes.hpp"
#include "base/os.hpp"

namespace mallard {

class Arena {
 public:
  static constexpr std::size_t kChunkBytes = 1u << 20;
  static constexpr std::size_t kDefaultLimitBytes = 512u << 20;

  explicit Arena(std::size_t limit_bytes = kDefaultLimitBytes) noexcept : limit_(limit_bytes) {}
  ~Arena() { release(); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// Zeroed memory that lives as long as the arena. \return nullptr when the bound is reached
  void* allocate(std::size_t bytes, std::size_t align = 16) noexcept {
    std::uintptr_t at = align_up(cursor_, align);
    if (MALLARD_UNLIKELY(at < cursor_ || at + bytes < at || at + bytes > end_)) {
      if (!grow(bytes, align)) return nullptr;
      at = align_up(cursor_, align);
    }
    cursor_ = at + bytes;
    return reinterpret_cast<void*>(at);
  }

  /// `n` zeroed objects of a trivial type, or nullptr.
  template <class T>
  T* array(std::size_t n) noexcept {
    std::size_t bytes;
    if (__builtin_mul_overflow(n, sizeof(T), &bytes)) return nullptr;
    return static_cast<T*>(allocate(bytes, alignof(T)));
  }

  void release() noexcept {
    while (chunks_) {
      Chunk* next = chunks_->next;
      os::unmap(chunks_, chunks_->bytes);
      chunks_ = next;
    }
    cursor_ = end_ = 0;
    mapped_ = 0;
  }

  std::size_t mapped_bytes() const noexcept { return mapped_; }

 private:
  struct Chunk {
    Chunk* next;
    std::size_t bytes;
  };

  bool grow(std::size_t bytes, std::size_t align) noexcept {
    std::size_t need;
    if (__builtin_add_overflow(bytes, sizeof(Chunk) + align + kPageBytes, &need)) return false;
    std::size_t size = need > kChunkBytes ? align_up(need, kPageBytes) : kChunkBytes;
    if (size > limit_ - mapped_) return false;
    auto* chunk = static_cast<Chunk*>(os::map(size));
    if (!chunk) return false;
    chunk->next = chunks_;
    chunk->bytes = size;
    chunks_ = chunk;
    mapped_ += size;
    cursor_ = address_of(chunk) + sizeof(Chunk);
    end_ = address_of(chunk) + size;
    return true;
  }

  Chunk* chunks_ = nullptr;
  std::uintptr_t cursor_ = 0, end_ = 0;
  std::size_t mapped_ = 0, limit_;
};

/// An array of trivial objects that doubles; what it leaves behind goes with the arena.
template <class T>
class Growing {
 public:
  explicit Growing(Arena& arena) noexcept : arena_(arena) {}

  bool add(const T& value) noexcept {
    if (size_ == capacity_ && !grow(capacity_ ? capacity_ * 2 : 32)) return false;
    items_[size_++] = value;
    return true;
  }

  /// Makes room for `n` at once, so that less memory is left behind by growing.
  void reserve(std::size_t n) noexcept {
    if (n > capacity_) grow(n);
  }

  /// Takes back what was added last. \param size  at most what it has
  void drop_to(std::size_t size) noexcept { size_ = size; }

  T& operator[](std::size_t i) noexcept { return items_[i]; }
  std::size_t size() const noexcept { return size_; }
  std::span<T> all() noexcept { return {items_, size_}; }
  bool out_of_memory() const noexcept { return out_of_memory_; }

 private:
  bool grow(std::size_t bigger) noexcept {
    T* items = arena_.array<T>(bigger);
    if (!items) {
      out_of_memory_ = true;
      return false;
    }
    for (std::size_t i = 0; i < size_; ++i) items[i] = items_[i];
    items_ = items;
    capacity_ = bigger;
    return true;
  }

  Arena& arena_;
  T* items_ = nullptr;
  std::size_t size_ = 0, capacity_ = 0;
  bool out_of_memory_ = false;
};

}  // namespace mallard
