// SPDX-License-Identifier: Apache-2.0
// A bump arena on malloc, as programs write them.
#pragma once

#include "workload.hpp"

namespace workload {

class Arena {
 public:
  Arena(void* (*allocate)(std::size_t), std::size_t chunk_bytes, bool doubles)
      : allocate_(allocate), chunk_bytes_(chunk_bytes), doubles_(doubles) {}

  void* take(std::size_t bytes) {
    bytes = (bytes + 15) & ~std::size_t{15};
    if (!chunk_ || used_ + bytes > chunk_->bytes) add_chunk(bytes);
    void* block = reinterpret_cast<char*>(chunk_ + 1) + used_;
    used_ += bytes;
    return block;
  }

  /// Empties the arena. It keeps its newest chunk, which is the largest if they double.
  void reset() {
    if (!chunk_) return;
    while (Chunk* older = chunk_->older) {
      chunk_->older = older->older;
      held_bytes_ -= older->bytes;
      free(older);
    }
    used_ = 0;
  }

  std::uint64_t held_bytes() const { return held_bytes_; }

 private:
  struct alignas(16) Chunk {
    Chunk* older;
    std::size_t bytes;
  };

  void add_chunk(std::size_t at_least) {
    if (chunk_ && doubles_) chunk_bytes_ *= 2;
    while (chunk_bytes_ < at_least) chunk_bytes_ *= 2;
    Chunk* made = static_cast<Chunk*>(allocate_(sizeof(Chunk) + chunk_bytes_));
    *made = {chunk_, chunk_bytes_};
    held_bytes_ += chunk_bytes_;
    chunk_ = made;
    used_ = 0;
  }

  void* (*allocate_)(std::size_t);
  std::size_t chunk_bytes_;
  bool doubles_;
  Chunk* chunk_ = nullptr;
  std::size_t used_ = 0;
  std::uint64_t held_bytes_ = 0;
};

}  // namespace workload
