// SPDX-License-Identifier: Apache-2.0
// An allocator in a loaded shared object, whoever loaded it: glibc, a plug-in, a second preload, the program
// itself. Its functions come from that one object, never from its dependencies.
#include <errno.h>
#include <string.h>

#include "backends/backend.hpp"
#include "backends/collect.hpp"
#include "backends/jemalloc_control.hpp"
#include "base/attributes.hpp"
#include "elf/loaded_objects.hpp"
#include "heaps/mimalloc.hpp"
#include "heaps/mimalloc_version.hpp"
#include "heaps/tcmalloc.hpp"

namespace mallard::backends {

constinit Collection collection{};

namespace {

// One backend serves the process, so its raw functions may be globals of this file.
constinit struct {
  Functions functions;
  void* (*aligned_alloc)(std::size_t, std::size_t);
  int (*posix_memalign)(void**, std::size_t, std::size_t);
  void (*process_info)(std::size_t*, std::size_t*, std::size_t*, std::size_t*, std::size_t*, std::size_t*,
                       std::size_t*, std::size_t*);
  heaps::TcmallocAccess tcmalloc;
  heaps::JemallocAccess jemalloc;
  void (*collect)(bool);
  void (*release)();
  int (*trim)(std::size_t);
  AddressRange data;  ///< the object's global variables
} g_raw{};

constinit heaps::MimallocAccess g_mimalloc{};

void* raw_memalign(std::size_t alignment, std::size_t bytes) noexcept {
  if (g_raw.functions.memalign) return g_raw.functions.memalign(alignment, bytes);
  if (g_raw.posix_memalign) {
    void* p = nullptr;
    const int error = g_raw.posix_memalign(&p, alignment, bytes);
    if (error != 0) {
      errno = error;
      return nullptr;
    }
    return p;
  }
  return g_raw.aligned_alloc(alignment, align_up(bytes, alignment));
}

/// mimalloc 2.0.9 takes a block of a size class that is a multiple of the alignment for aligned, although its
/// page does not start on such a boundary. Another size takes its over-allocating path, which is right.
MALLARD_COLD void* repaired_memalign(std::size_t alignment, std::size_t bytes, void* wrong) noexcept {
  constexpr int kTries = 8;
  void* rejected[kTries + 1] = {wrong};  // kept until the end, so that they are not handed out again
  int n = 1;
  void* good = nullptr;
  for (std::size_t extra = 16; n <= kTries && !good; extra *= 2) {
    void* p = raw_memalign(alignment, bytes + extra);
    if (!p) break;
    if ((address_of(p) & (alignment - 1)) == 0) good = p;
    else rejected[n++] = p;
  }
  for (int i = 0; i < n; ++i) g_raw.functions.free(rejected[i]);
  if (!good) errno = ENOMEM;
  return good;
}

void* checked_memalign(std::size_t alignment, std::size_t bytes) noexcept {
  void* p = raw_memalign(alignment, bytes);
  if (MALLARD_LIKELY((address_of(p) & (alignment - 1)) == 0)) return p;
  return repaired_memalign(alignment, bytes, p);
}

/// mimalloc 2 leaves errno alone for sizes within its rounding of 2^64.
void* malloc_with_errno(std::size_t bytes) noexcept {
  if (MALLARD_LIKELY(static_cast<std::ptrdiff_t>(bytes) >= 0)) return g_raw.functions.malloc(bytes);
  errno = ENOMEM;
  return nullptr;
}

/// Without malloc_usable_size a block's size is unknown; 0 is what the interface has for "cannot tell".
std::size_t no_usable_size(void*) noexcept { return 0; }

int mimalloc_statistics(Statistic* to) noexcept {
  std::size_t elapsed, user, system, rss, peak_rss, committed, peak_committed, faults;
  g_raw.process_info(&elapsed, &user, &system, &rss, &peak_rss, &committed, &peak_committed, &faults);
  to[0] = {"committed", static_cast<std::int64_t>(committed)};
  return 1;
}

int mimalloc_trim(std::size_t) noexcept {
  g_raw.collect(true);
  return 1;
}

int tcmalloc_statistics(Statistic* to) noexcept {
  struct {
    const char *property, *name;
  } const wanted[] = {{"generic.current_allocated_bytes", "allocated"},
                      {"generic.heap_size", "mapped"},
                      {"tcmalloc.pageheap_free_bytes", "retained"},
                      {"tcmalloc.pageheap_unmapped_bytes", "unmapped"}};
  int n = 0;
  for (const auto& w : wanted)
    if (std::size_t bytes; g_raw.tcmalloc.property(w.property, &bytes))
      to[n++] = {w.name, static_cast<std::int64_t>(bytes)};
  return n;
}

int tcmalloc_trim(std::size_t) noexcept {
  g_raw.release();
  return 1;
}

int loaded_jemalloc_statistics(Statistic* to) noexcept {
  return jemalloc_statistics(g_raw.jemalloc.mallctl, to);
}
int loaded_jemalloc_trim(std::size_t) noexcept { return jemalloc_trim(g_raw.jemalloc.mallctl); }

bool purge_by_collect() noexcept {
  g_raw.collect(true);
  return true;
}
void collect_own() noexcept { g_raw.collect(true); }
bool purge_by_release() noexcept {
  g_raw.release();
  return true;
}
bool purge_by_mallctl() noexcept { return jemalloc_trim(g_raw.jemalloc.mallctl) == 1; }
bool purge_by_trim() noexcept {
  g_raw.trim(0);  // 0 only says that there was nothing to give back
  return true;
}

heaps::CensusResult loaded_mimalloc_census(const heaps::CensusRequest& request) noexcept {
  return heaps::mimalloc_census(g_mimalloc, request);
}

heaps::CensusResult loaded_jemalloc_census(const heaps::CensusRequest& request) noexcept {
  return heaps::jemalloc_census(g_raw.jemalloc, request);
}

heaps::CensusResult loaded_tcmalloc_census(const heaps::CensusRequest& request) noexcept {
  return heaps::tcmalloc_census(g_raw.tcmalloc, request);
}

const char* jemalloc_version() noexcept {
  const char* text = nullptr;
  std::size_t size = sizeof text;
  return g_raw.jemalloc.mallctl("version", &text, &size, nullptr, 0) == 0 ? text : "unknown";
}

void describe_tcmalloc(const link_map* object, Backend* out) noexcept {
  set_text(out->name, sizeof out->name, "tcmalloc");
  out->calloc_writes = true;
  heaps::TcmallocAccess& access = g_raw.tcmalloc;
  access = {.property = elf::find_function<int(const char*, std::size_t*)>(
                object, "MallocExtension_GetNumericProperty"),
            .rounded_size = elf::find_function<std::size_t(std::size_t, int)>(object, "tc_nallocx"),
            .malloc = g_raw.functions.malloc,
            .free = g_raw.functions.free,
            .usable_size = g_raw.functions.usable_size,
            .data = g_raw.data};
  if (access.property) out->statistics = tcmalloc_statistics;
  if (access.property && access.rounded_size && access.usable_size) out->census = loaded_tcmalloc_census;
  g_raw.release = elf::find_function<void()>(object, "MallocExtension_ReleaseFreeMemory");
  if (!g_raw.release) return;
  out->extras.trim = tcmalloc_trim;
  out->purge = {purge_by_release, "MallocExtension::ReleaseFreeMemory",
                "free blocks in thread caches keep their spans",
                "threads that ask the page heap for spans wait meanwhile"};
}

void describe_jemalloc(Mallctl* mallctl, Backend* out) noexcept {
  set_text(out->name, sizeof out->name, "jemalloc");
  g_raw.jemalloc = {.mallctl = mallctl,
                    .malloc = g_raw.functions.malloc,
                    .free = g_raw.functions.free,
                    .usable_size = g_raw.functions.usable_size,
                    .data = g_raw.data,
                    .arenas_can_end = true};
  out->ask_version = jemalloc_version;  // a control: it would be initialised before its environment is set
  out->statistics = loaded_jemalloc_statistics;
  out->extras.trim = loaded_jemalloc_trim;
  out->purge = {purge_by_mallctl, kJemallocPurgeCall, kJemallocPurgeLeaves, kJemallocPurgeHolds};
  if (g_raw.functions.usable_size) out->census = loaded_jemalloc_census;
}

/// Recognises allocators that say who they are. \return false if this one does not
bool identify(const link_map* object, Backend* out) noexcept {
  FixedText<64> version;
  if (auto* mi_version = elf::find_function<int()>(object, "mi_version")) {
    set_text(out->name, sizeof out->name, "mimalloc");
    if (!heaps::add_mimalloc_version(version, static_cast<std::uint32_t>(mi_version())))
      version.add("unknown");
    out->misaligns = version.view() == "2.0.9";
    out->calloc_writes = version.view()[0] == '2';
    if (version.view()[0] == '2') out->functions.malloc = malloc_with_errno;
    if (g_raw.functions.usable_size) {
      g_mimalloc = {.malloc = g_raw.functions.malloc,
                    .free = g_raw.functions.free,
                    .usable_size = g_raw.functions.usable_size,
                    .data = g_raw.data};
      out->census = loaded_mimalloc_census;
    }
    g_raw.process_info =
        elf::find_function<void(std::size_t*, std::size_t*, std::size_t*, std::size_t*, std::size_t*,
                                std::size_t*, std::size_t*, std::size_t*)>(object, "mi_process_info");
    if (g_raw.process_info) out->statistics = mimalloc_statistics;
    g_raw.collect = elf::find_function<void(bool)>(object, "mi_collect");
    if (g_raw.collect) {
      out->extras.trim = mimalloc_trim;
      out->purge = {purge_by_collect, "mi_collect(true)", "pages of threads that have not collected since",
                    "nobody waits"};
      collection.own = collect_own;
    }
  } else if (auto* tc_version =
                 elf::find_function<const char*(int*, int*, const char**)>(object, "tc_version")) {
    int major = 0, minor = 0;
    const char* patch = nullptr;
    version.add(view_of(tc_version(&major, &minor, &patch)));  // "gperftools 2.10"
    describe_tcmalloc(object, out);
  } else if (auto* mallctl = elf::find_function<Mallctl>(object, "mallctl")) {
    version.add("unknown");
    describe_jemalloc(mallctl, out);
  } else {
    return false;
  }
  set_text(out->version, sizeof out->version, version.view());
  return true;
}

}  // namespace

namespace {

/// Fills g_raw from what `find` gives for each name. \return the name of a function that is missing, or
/// nullptr
template <typename Find>
const char* fill_raw(Find find) noexcept {
  g_raw = {};
  Functions& f = g_raw.functions;
  find("malloc", f.malloc);
  find("free", f.free);
  find("calloc", f.calloc);
  find("realloc", f.realloc);
  find("memalign", f.memalign);
  find("malloc_usable_size", f.usable_size);
  find("aligned_alloc", g_raw.aligned_alloc);
  find("posix_memalign", g_raw.posix_memalign);
  return !f.malloc    ? "malloc"
         : !f.free    ? "free"
         : !f.calloc  ? "calloc"
         : !f.realloc ? "realloc"
         : !f.memalign && !g_raw.aligned_alloc && !g_raw.posix_memalign
             ? "memalign, posix_memalign or aligned_alloc"
             : nullptr;
}

void describe(const link_map* object, Backend* out) noexcept {
  out->functions = g_raw.functions;
  out->functions.memalign = checked_memalign;
  if (!out->functions.usable_size) out->functions.usable_size = no_usable_size;
  out->object = object;
  elf::data_range(object, &g_raw.data.begin, &g_raw.data.end);
  set_text(out->path, sizeof out->path, view_of(object->l_name));
  out->extras.trim = elf::find_function<int(std::size_t)>(object, "malloc_trim");
  out->extras.print_stats = elf::find_function<void()>(object, "malloc_stats");
  out->extras.mallinfo = elf::find_function<struct mallinfo()>(object, "mallinfo");
  out->extras.mallinfo2 = elf::find_function<struct mallinfo2()>(object, "mallinfo2");
  out->extras.malloc_info = elf::find_function<int(int, FILE*)>(object, "malloc_info");
  g_raw.trim = out->extras.trim;
  if (g_raw.trim)
    out->purge = {purge_by_trim, "malloc_trim(0)", "free blocks in thread caches keep their pages",
                  "threads wait for an arena that it walks, up to seconds on large heaps"};
  if (!identify(object, out)) {
    set_text(out->name, sizeof out->name, file_name_of(view_of(object->l_name)));
    set_text(out->version, sizeof out->version, "unknown");
  }
}

}  // namespace

bool use_object(const link_map* object, Backend* out, TextBuffer& why) noexcept {
  *out = Backend{};
  const char* missing = fill_raw(
      [object]<typename F>(const char* name, F*& to) noexcept { to = elf::find_function<F>(object, name); });
  if (missing) {
    why.add("it does not define ").add(view_of(missing));
    return false;
  }
  describe(object, out);
  return true;
}

bool use_natural_owners(const link_map* owner, const link_map* own, void* (*past)(void*) noexcept,
                        Backend* out) noexcept {
  *out = Backend{};
  const char* missing = fill_raw([own, past]<typename F>(const char* name, F*& to) noexcept {
    link_map* definer = elf::find_definer(elf::first_object(), name);
    if (definer == own) definer = elf::find_next_definer(name);
    to = reinterpret_cast<F*>(past(reinterpret_cast<void*>(elf::find_function<F>(definer, name))));
  });
  if (missing) return false;
  describe(owner, out);
  return true;
}

}  // namespace mallard::backends
