// SPDX-License-Identifier: Apache-2.0
// jemalloc linked into libmallard.so: the distribution's PIC archive with every global renamed to
// mallard_je_* and hidden, its constructor removed so that it costs nothing when another backend serves.
#include "backends/jemalloc_control.hpp"

#ifdef MALLARD_HAVE_JEMALLOC

#include <string.h>
#include <time.h>

#include "base/attributes.hpp"
#include "base/math.hpp"
#include "base/os.hpp"
#include "elf/loaded_objects.hpp"

extern "C" {
void* mallard_je_malloc(std::size_t);
void mallard_je_free(void*);
void* mallard_je_calloc(std::size_t, std::size_t);
void* mallard_je_realloc(void*, std::size_t);
void* mallard_je_memalign(std::size_t, std::size_t);
std::size_t mallard_je_malloc_usable_size(void*);
int mallard_je_mallctl(const char*, void*, std::size_t*, void*, std::size_t);
void mallard_je_malloc_stats_print(void (*)(void*, const char*), void*, const char*);

/// Not the host's, which may allocate: libfaketime's waits for its own lock then.
__attribute__((visibility("hidden"))) int mallard_clock_gettime(clockid_t clock, timespec* to) {
  return mallard::os::call(SYS_clock_gettime, clock, mallard::os::arg(to)) == 0 ? 0 : -1;
}

// Only its profiler reads numbers. Compiled for C23 it asks for a strtol that glibc has since 2.38; this is the old one.
long mallard_old_strtol(const char*, char**, int) __asm__("strtol");
__attribute__((visibility("hidden"))) long mallard_strtol(const char* text, char** end, int base) {
  return mallard_old_strtol(text, end, base);
}

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

int statistics(Statistic* to) noexcept { return jemalloc_statistics(mallard_je_mallctl, to); }

// Its map is found by the first census.
constinit heaps::JemallocAccess g_access{.mallctl = mallard_je_mallctl,
                                         .malloc = mallard_je_malloc,
                                         .free = mallard_je_free,
                                         .usable_size = mallard_je_malloc_usable_size,
                                         .data = {},
                                         .arenas_can_end = false};

heaps::CensusResult census(const heaps::CensusRequest& request) noexcept {
  if (g_access.data.end == 0) elf::data_range(elf::own_object(), &g_access.data.begin, &g_access.data.end);
  return heaps::jemalloc_census(g_access, request);
}

int trim(std::size_t) noexcept { return jemalloc_trim(mallard_je_mallctl); }
bool purge() noexcept { return jemalloc_trim(mallard_je_mallctl) == 1; }
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
  out->purge = {purge, kJemallocPurgeCall, kJemallocPurgeLeaves, kJemallocPurgeHolds};
  out->census = census;
  return true;
}

}  // namespace mallard::backends

#else

namespace mallard::backends {
bool use_jemalloc(Backend*) noexcept { return false; }
}  // namespace mallard::backends

#endif
