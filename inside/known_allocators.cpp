// SPDX-License-Identifier: Apache-2.0
#include "inside/known_allocators.hpp"

namespace mallard::inside {
namespace {

using Names = std::string_view[];

constexpr Names kMimallocSymbols = {"mi_malloc", "mi_heap_malloc", "mi_malloc_aligned", "_mi_malloc_generic",
                                    "_mi_page_malloc"};
constexpr Names kMimallocCalls = {"mi_malloc",         "mi_zalloc",      "mi_calloc", "mi_realloc",
                                  "mi_malloc_aligned", "mi_heap_malloc", "mi_new"};
constexpr Names kMimallocMessages = {"mimalloc:~error:~", "mimalloc:~warning:~"};
constexpr Names kMimallocLibraries = {"libmimalloc"};

constexpr Names kMimallocMappers = {"mi_*", "_mi_*", "unix_mmap*"};

constexpr Names kJemallocSymbols = {"je_malloc", "_rjem_malloc", "je_mallocx", "_rjem_mallocx",
                                    // Private names keep "je_" behind a prefix that the build may choose.
                                    "*je_arena_*", "mallocx"};
constexpr Names kJemallocCalls = {"je_malloc", "je_calloc", "je_realloc", "je_mallocx", "mallocx", "rallocx"};
constexpr Names kJemallocMessages = {"<jemalloc>:~", "Malformed~conf~string"};
constexpr Names kJemallocLibraries = {"libjemalloc"};
constexpr Names kJemallocMappers = {"*je_*", "*pages_map*"};

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

constexpr Names kMozillaSymbols = {"moz_arena_malloc", "_ZN17BaseAllocator*"};
constexpr Names kMozillaCalls = {"moz_arena_malloc", "moz_arena_calloc", "moz_arena_realloc"};

constexpr Names kTbbSymbols = {"scalable_malloc", "scalable_aligned_malloc"};
constexpr Names kTbbCalls = {"scalable_malloc", "scalable_calloc", "scalable_realloc",
                             "scalable_aligned_malloc"};
constexpr Names kTbbMessages = {"TBBmalloc:~"};
constexpr Names kTbbLibraries = {"libtbbmalloc"};

constexpr Names kHoardSymbols = {"xxmalloc"};
constexpr Names kHoardLibraries = {"libhoard"};
constexpr Names kMeshSymbols = {"mesh_malloc", "_ZN4mesh7Runtime*"};
constexpr Names kMeshLibraries = {"libmesh.so"};
constexpr Names kBmallocSymbols = {"_ZN7bmalloc*", "bmalloc_try_*", "pas_local_allocator_*"};
constexpr Names kNedmallocSymbols = {"nedmalloc"};
constexpr Names kErlangSymbols = {"erts_alcu_*"};

constexpr Names kPartitionMessages = {"partition_allocator^src^partition_alloc"};

constexpr Names kMimallocMappings = {"mimalloc"};
constexpr Names kJemallocMappings = {"jemalloc"};
constexpr Names kTcmallocMappings = {"tcmalloc"};
constexpr Names kScudoMappings = {"scudo"};
constexpr Names kHardenedMappings = {"malloc~slab", "malloc~large", "hardened_malloc"};
constexpr Names kPartitionMappings = {"partition_alloc"};

constexpr Names kPythonSymbols = {"PyObject_Malloc", "_PyObject_Malloc"};
constexpr Names kJavaSymbols = {"JNI_CreateJavaVM"};
constexpr Names kDotNetSymbols = {"coreclr_initialize", "mono_jit_init"};
constexpr Names kV8Symbols = {"_ZN2v87Isolate*"};
constexpr Names kGoSymbols = {"runtime.mallocgc"};
constexpr Names kPhpSymbols = {"_emalloc"};
constexpr Names kRubySymbols = {"rb_gc_start"};
constexpr Names kLuaJitSymbols = {"luaJIT_setmode", "lj_alloc_create"};
constexpr Names kOcamlSymbols = {"caml_alloc_shr"};
constexpr Names kBoehmSymbols = {"GC_malloc_kind", "GC_malloc_atomic"};
constexpr Names kGoMessages = {"all~goroutines~are~asleep~-~deadlock!"};
constexpr Names kV8Mappings = {"v8"};
constexpr Names kGoMappings = {"Go:"};

constexpr KnownAllocator kTable[] = {
    {"mimalloc",
     kMimallocSymbols,
     kMimallocCalls,
     kMimallocMessages,
     kMimallocLibraries,
     kMimallocMappings,
     false,
     {},
     kMimallocMappers},
    {"mozjemalloc", kMozillaSymbols, kMozillaCalls, {}, {}},
    {"jemalloc",
     kJemallocSymbols,
     kJemallocCalls,
     kJemallocMessages,
     kJemallocLibraries,
     kJemallocMappings,
     false,
     {},
     kJemallocMappers},
    {"tcmalloc", kTcmallocSymbols, kTcmallocCalls, kTcmallocMessages, kTcmallocLibraries, kTcmallocMappings},
    {"snmalloc", kSnmallocSymbols, kSnmallocCalls, {}, kSnmallocLibraries},
    {"rpmalloc", kRpmallocSymbols, kRpmallocCalls, {}, kRpmallocLibraries},
    {"Scudo", kScudoSymbols, kScudoCalls, kScudoMessages, kScudoLibraries, kScudoMappings},
    {"hardened_malloc", kHardenedCalls, kHardenedCalls, kHardenedMessages, kHardenedLibraries,
     kHardenedMappings},
    {"PartitionAlloc", kPartitionSymbols, {}, kPartitionMessages, {}, kPartitionMappings},
    {"tbbmalloc", kTbbSymbols, kTbbCalls, kTbbMessages, kTbbLibraries},
    {"Hoard", kHoardSymbols, {}, {}, kHoardLibraries},
    {"Mesh", kMeshSymbols, {}, {}, kMeshLibraries},
    {"bmalloc", kBmallocSymbols, {}, {}, {}},
    {"nedmalloc", kNedmallocSymbols, {}, {}, {}},
    {"erts_alloc", kErlangSymbols, {}, {}, {}},
    {"dlmalloc", kDlmallocSymbols, kDlmallocCalls, {}, {}},
    {"CPython's pymalloc",
     kPythonSymbols,
     {},
     {},
     {},
     {},
     true,
     "PYTHONMALLOC=malloc sends every object of Python's through malloc"},
    {"the Java heap", kJavaSymbols, {}, {}, {}, {}, true, "jcmd PID GC.class_histogram shows what is in it"},
    {".NET's heap", kDotNetSymbols, {}, {}, {}, {}, true, "dotnet-gcdump shows what is in it"},
    {"V8's heap", kV8Symbols, {}, {}, {}, kV8Mappings, true, "node --heap-prof shows who allocates in it"},
    {kGoHeap,
     kGoSymbols,
     {},
     kGoMessages,
     {},
     kGoMappings,
     true,
     "Go's own profiler (net/http/pprof) shows what is in it"},
    {"PHP's memory manager",
     kPhpSymbols,
     {},
     {},
     {},
     {},
     true,
     "USE_ZEND_ALLOC=0 sends it all through malloc"},
    {"Ruby's object heap",
     kRubySymbols,
     {},
     {},
     {},
     {},
     true,
     "ObjectSpace.trace_object_allocations shows who makes objects"},
    {"LuaJIT's heap", kLuaJitSymbols, {}, {}, {}, {}, true, "collectgarbage('count') tells its size"},
    {"OCaml's heap", kOcamlSymbols, {}, {}, {}, {}, true, "OCAMLRUNPARAM=v=0x400 tells its size at exit"},
    {"the Boehm collector's heap", kBoehmSymbols, {}, {}, {}, {}, true, "GC_PRINT_STATS=1 tells its size"},
};
static_assert(std::size(kTable) <= kMaxKnownAllocators);

/// Like matches() for a beginning that is written as messages are.
bool begins_with(std::string_view text, std::string_view beginning) noexcept {
  if (text.size() < beginning.size()) return false;
  for (std::size_t i = 0; i < beginning.size(); ++i)
    if (text[i] != meant_by(beginning[i])) return false;
  return true;
}

}  // namespace

std::span<const KnownAllocator> known_allocators() noexcept { return kTable; }

const KnownAllocator* allocator_of_mapping(std::string_view path) noexcept {
  constexpr std::string_view kNamed = "[anon:";
  if (!path.starts_with(kNamed)) return nullptr;
  path = part_of(path, kNamed.size(), path.size());
  while (path.starts_with(' ')) path.remove_prefix(1);
  for (const KnownAllocator& a : kTable)
    for (const std::string_view name : a.mapping_names)
      if (begins_with(path, name)) return &a;
  return nullptr;
}

}  // namespace mallard::inside
