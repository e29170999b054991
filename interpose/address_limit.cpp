// SPDX-License-Identifier: Apache-2.0
#include "interpose/address_limit.hpp"

#include "base/attributes.hpp"
#include "base/os.hpp"
#include "base/reservation.hpp"

namespace mallard::interpose {
namespace {

/// The backend's own.
constinit backends::Functions g_behind{};

/// What `call` returns, which is made again where that may help; never where nothing was asked for, since
/// realloc(p, 0) has freed then.
template <typename Call>
[[gnu::always_inline]] inline void* retried(std::size_t bytes, Call call) noexcept {
  void* p = call();
  if (MALLARD_LIKELY(p != nullptr) || bytes == 0 || !give_back_reservations(bytes)) return p;
  return call();
}

void* malloc_retried(std::size_t bytes) noexcept {
  return retried(bytes, [bytes] { return g_behind.malloc(bytes); });
}
void* calloc_retried(std::size_t count, std::size_t size) noexcept {
  std::size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) bytes = ~std::size_t{0};
  return retried(bytes, [count, size] { return g_behind.calloc(count, size); });
}
void* realloc_retried(void* p, std::size_t bytes) noexcept {
  return retried(bytes, [p, bytes] { return g_behind.realloc(p, bytes); });
}
void* memalign_retried(std::size_t alignment, std::size_t bytes) noexcept {
  return retried(bytes, [alignment, bytes] { return g_behind.memalign(alignment, bytes); });
}

}  // namespace

void retry_at_address_limit(backends::Backend* backend) noexcept {
  if (os::address_limit() == ~std::uint64_t{0}) return;
  g_behind = backend->functions;
  backend->functions.malloc = malloc_retried;
  backend->functions.calloc = calloc_retried;
  backend->functions.realloc = realloc_retried;
  backend->functions.memalign = memalign_retried;
}

}  // namespace mallard::interpose
