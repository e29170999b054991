// SPDX-License-Identifier: Apache-2.0
// jemalloc linked into libmallard.so: the distribution's PIC archive with every global renamed to
// mallard_je_* and hidden, its constructor removed so that it costs nothing when another backend serves.
#include "backends/backend.hpp"

#ifdef MALLARD_HAVE_JEMALLOC

#include <string.h>

#include "base/math.hpp"

extern "C" {
void* mallard_je_malloc(std::size_t);
void mallard_je_free(void*);
void* mallard_je_calloc(std::size_t, std::size_t);
void* mallard_je_realloc(void*, std::size_t);
void* mallard_je_memalign(std::size_t, std::size_t);
std::size_t mallard_je_malloc_usable_size(void*);
int mallard_je_mallctl(const char*, void*, std::size_t*, void*, std::size_t);
void mallard_je_malloc_stats_print(void (*)(void*, const char*), void*, const char*);

// What jemalloc takes from libm, which libmallard.so does not depend on.
__attribute__((visibility("hidden"))) double mallard_libm_exp(double x) { return mallard::math::exp(x); }
__attribute__((visibility("hidden"))) double mallard_libm_log(double x) { return mallard::math::log(x); }
__attribute__((visibility("hidden"))) double mallard_libm_round(double x) {
  if (!(x > -0x1p52 && x < 0x1p52)) return x;  // a whole number already, or no number
  return static_cast<double>(static_cast<long>(x < 0 ? x - 0.5 : x + 0.5));
}
}

namespace mallard::backends {
namespace {

template <typename T>
bool read_control(const char* name, T* to) noexcept {
  std::size_t size = sizeof *to;
  return mallard_je_mallctl(name, to, &size, nullptr, 0) == 0;
}

int statistics(Statistic* to) noexcept {
  std::uint64_t epoch = 1;
  std::size_t size = sizeof epoch;
  mallard_je_mallctl("epoch", &epoch, &size, &epoch, size);  // refreshes the figures below
  struct {
    const char *control, *name;
  } const wanted[] = {{"stats.allocated", "allocated"}, {"stats.active", "active"},
                      {"stats.metadata", "metadata"},   {"stats.resident", "resident"},
                      {"stats.mapped", "mapped"},       {"stats.retained", "retained"}};
  int n = 0;
  for (const auto& w : wanted)
    if (std::size_t bytes; read_control(w.control, &bytes)) to[n++] = {w.name, bytes};
  return n;
}

/// Purges every arena, as malloc_trim promises. \return 1 = memory may have gone back
int trim(std::size_t) noexcept {
  return mallard_je_mallctl("arena.4096.purge", nullptr, nullptr, nullptr, 0) == 0;  // MALLCTL_ARENAS_ALL
}

void print_stats() noexcept { mallard_je_malloc_stats_print(nullptr, nullptr, nullptr); }

}  // namespace

bool use_jemalloc(Backend* out) noexcept {
  *out = Backend{};
  set_text(out->name, sizeof out->name, "jemalloc");
  set_text(out->version, sizeof out->version, JEMALLOC_VERSION_TEXT);
  out->functions = {mallard_je_malloc,  mallard_je_free,     mallard_je_calloc,
                    mallard_je_realloc, mallard_je_memalign, mallard_je_malloc_usable_size};
  out->extras = {trim, print_stats, nullptr, nullptr, nullptr};
  out->statistics = statistics;
  return true;
}

}  // namespace mallard::backends

#else

namespace mallard::backends {
bool use_jemalloc(Backend*) noexcept { return false; }
}  // namespace mallard::backends

#endif
