// SPDX-License-Identifier: Apache-2.0
#include "base/known_allocators.hpp"

namespace mallard {
namespace {

using Names = std::string_view[];

constexpr Names kMimallocSymbols = {"mi_malloc", "mi_heap_malloc", "mi_malloc_aligned", "_mi_malloc_generic",
                                    "_mi_page_malloc"};
constexpr Names kMimallocCalls = {"mi_malloc",         "mi_zalloc",      "mi_calloc", "mi_realloc",
                                  "mi_malloc_aligned", "mi_heap_malloc", "mi_new"};
constexpr Names kMimallocMessages = {"mimalloc:~error:~", "mimalloc:~warning:~"};
constexpr Names kMimallocLibraries = {"libmimalloc"};

constexpr Names kJemallocSymbols = {"je_malloc", "_rjem_malloc", "je_mallocx", "_rjem_mallocx",
                                    "mallocx",   "je_arena_*",   "_rjem_je_*"};
constexpr Names kJemallocCalls = {"je_malloc", "je_calloc", "je_realloc", "je_mallocx", "mallocx", "rallocx"};
constexpr Names kJemallocMessages = {"<jemalloc>:~", "Malformed~conf~string"};
constexpr Names kJemallocLibraries = {"libjemalloc"};

constexpr Names kTcmallocSymbols = {"tc_malloc", "TCMallocInternalMalloc", "_ZN8tcmalloc*",
                                    "_ZN22TCMallocImplementation*"};
constexpr Names kTcmallocCalls = {"tc_malloc", "tc_calloc", "tc_realloc", "tc_new", "tc_memalign"};
constexpr Names kTcmallocMessages = {"TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES", "tcmalloc:~large~alloc~"};
constexpr Names kTcmallocLibraries = {"libtcmalloc"};

constexpr Names kSnmallocSymbols = {"sn_malloc", "sn_rust_alloc", "_ZN8snmalloc*"};
constexpr Names kSnmallocCalls = {"sn_malloc", "sn_rust_alloc"};
constexpr Names kSnmallocLibraries = {"libsnmalloc"};

constexpr Names kRpmallocSymbols = {"rpmalloc", "rpaligned_alloc"};
constexpr Names kRpmallocCalls = {"rpmalloc", "rpcalloc", "rprealloc"};
constexpr Names kRpmallocLibraries = {"librpmalloc"};

constexpr Names kScudoSymbols = {"scudo_malloc", "_ZN5scudo*"};
constexpr Names kScudoCalls = {"scudo_malloc"};
constexpr Names kScudoMessages = {"Scudo~ERROR:~"};
constexpr Names kScudoLibraries = {"libclang_rt.scudo", "libscudo"};

constexpr Names kHardenedCalls = {"h_malloc"};
constexpr Names kHardenedMessages = {"fatal~allocator~error:~"};
constexpr Names kHardenedLibraries = {"libhardened_malloc"};

constexpr Names kPartitionSymbols = {"_ZN15partition_alloc*", "_ZN4base13PartitionRoot*"};

constexpr Names kDlmallocSymbols = {"dlmalloc", "dlmemalign"};
constexpr Names kDlmallocCalls = {"dlmalloc", "dlcalloc", "dlrealloc"};

constexpr KnownAllocator kTable[] = {
    {"mimalloc", kMimallocSymbols, kMimallocCalls, kMimallocMessages, kMimallocLibraries},
    {"jemalloc", kJemallocSymbols, kJemallocCalls, kJemallocMessages, kJemallocLibraries},
    {"tcmalloc", kTcmallocSymbols, kTcmallocCalls, kTcmallocMessages, kTcmallocLibraries},
    {"snmalloc", kSnmallocSymbols, kSnmallocCalls, {}, kSnmallocLibraries},
    {"rpmalloc", kRpmallocSymbols, kRpmallocCalls, {}, kRpmallocLibraries},
    {"Scudo", kScudoSymbols, kScudoCalls, kScudoMessages, kScudoLibraries},
    {"hardened_malloc", kHardenedCalls, kHardenedCalls, kHardenedMessages, kHardenedLibraries},
    {"PartitionAlloc", kPartitionSymbols, {}, {}, {}},
    {"dlmalloc", kDlmallocSymbols, kDlmallocCalls, {}, {}},
};

}  // namespace

std::span<const KnownAllocator> known_allocators() noexcept { return kTable; }

}  // namespace mallard
