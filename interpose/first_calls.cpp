// SPDX-License-Identifier: Apache-2.0
#include "interpose/first_calls.hpp"

#include <string.h>

#include "backends/boot.hpp"
#include "interpose/dispatch.hpp"
#include "interpose/lifecycle.hpp"
#include "record/record.hpp"

namespace mallard::interpose {
namespace {

__thread volatile int t_tls_ready __attribute__((tls_model("initial-exec"))) = 1;

/// The boot arena's blocks must be recognised by every later free, which only looks at the filter.
void* boot_block(std::size_t alignment, std::size_t bytes) noexcept {
  void* p = backends::boot_allocate(alignment, bytes);
  if (p) record::filter_stick(p);
  return p;
}

bool boot_is_over() noexcept {
  ensure_started();
  return is_final();
}

void* boot_malloc(std::size_t bytes) noexcept {
  return boot_is_over() ? mallard_table.malloc(bytes) : boot_block(16, bytes);
}
void boot_free_any(void* p) noexcept {
  if (p && backends::is_boot_block(p)) backends::boot_free(p);
  else if (p && boot_is_over()) mallard_table.free(p);
}
void* boot_calloc(std::size_t count, std::size_t size) noexcept {
  return boot_is_over() ? mallard_table.calloc(count, size) : boot_block(16, count * size);
}
void* boot_realloc(void* p, std::size_t bytes) noexcept {
  if (p && !backends::is_boot_block(p) && boot_is_over()) return mallard_table.realloc(p, bytes);
  void* fresh = boot_malloc(bytes);
  if (!p || !fresh) return fresh;
  const std::size_t old = backends::boot_usable_size(p);
  memcpy(fresh, p, old < bytes ? old : bytes);
  return fresh;
}
void* boot_memalign(std::size_t alignment, std::size_t bytes) noexcept {
  return boot_is_over() ? mallard_table.memalign(alignment, bytes) : boot_block(alignment, bytes);
}
std::size_t boot_usable(void* p) noexcept { return p ? backends::boot_usable_size(p) : 0; }

using UsableSizeFunction = std::size_t(void*);
constinit UsableSizeFunction* g_backend_usable_size = nullptr;

std::size_t usable_size_with_boot_blocks(void* p) noexcept {
  // Null is no boot block; programs such as redis call this as often as malloc.
  if (MALLARD_LIKELY(!backends::is_boot_block(p))) return g_backend_usable_size(p);
  return backends::boot_usable_size(p);
}

}  // namespace

bool tls_is_ready() noexcept { return t_tls_ready != 0; }

void serve_from_boot_arena() noexcept {
  install_temporary({boot_malloc, boot_free_any, boot_calloc, boot_realloc, boot_memalign, boot_usable});
}

void answer_for_boot_blocks(backends::Backend* backend) noexcept {
  if (backends::boot_blocks() == 0) return;  // from now on there can be no new ones
  g_backend_usable_size = backend->functions.usable_size;
  backend->functions.usable_size = usable_size_with_boot_blocks;
}

void* first_malloc(std::size_t bytes) noexcept {
  ensure_started();
  return mallard_table.malloc(bytes);
}
void first_free(void* p) noexcept {
  if (!p) return;
  ensure_started();
  mallard_table.free(p);
}
void* first_calloc(std::size_t count, std::size_t bytes) noexcept {
  ensure_started();
  return mallard_table.calloc(count, bytes);
}
void* first_realloc(void* p, std::size_t bytes) noexcept {
  ensure_started();
  return mallard_table.realloc(p, bytes);
}
void* first_memalign(std::size_t alignment, std::size_t bytes) noexcept {
  ensure_started();
  return mallard_table.memalign(alignment, bytes);
}
std::size_t first_usable_size(void* p) noexcept {
  ensure_started();
  return mallard_table.usable_size(p);
}

}  // namespace mallard::interpose
