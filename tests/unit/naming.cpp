// SPDX-License-Identifier: Apache-2.0
// Which function names a call site.
#include "report/model/naming.hpp"

#include <initializer_list>
#include <string>
#include <vector>

#include "symbols/demangle.hpp"
#include "symbols/plumbing.hpp"
#include "tests/unit/catch.hpp"

using namespace mallard;
using namespace mallard::report;
using symbols::Plumbing;
using symbols::plumbing_of;

namespace {

/// Call sites made by hand. Frames of one function at one address are one frame, as in a report.
struct Sites {
  Arena arena;
  std::vector<SiteRow> rows;

  const Frame* frame(const char* function, const char* module = "/bin/program", std::uint64_t offset = 40) {
    return new Frame{0, 0, module, 0x1000, function, offset, {}};
  }
  SiteRow& add(const std::vector<const Frame*>& stack) {
    auto* frames = new std::vector<const Frame*>(stack);
    SiteRow row{};
    row.id = static_cast<std::uint32_t>(rows.size() + 1);
    row.depth = static_cast<int>(frames->size());
    row.frames = frames->data();
    rows.push_back(row);
    return rows.back();
  }
  std::string name_of_frames(const std::vector<const Frame*>& stack, std::string_view wrappers = {}) {
    rows.clear();
    add(stack);
    name_sites(arena, rows, wrappers);
    return std::string(naming_function(rows[0]).name);
  }
  std::string name_of(std::initializer_list<const char*> functions, std::string_view wrappers = {}) {
    std::vector<const Frame*> stack;
    for (const char* function : functions) stack.push_back(frame(function));
    return name_of_frames(stack, wrappers);
  }
};

}  // namespace

TEST_CASE("plumbing: paths of functions, without parameters and the type that they return") {
  CHECK(symbols::path_of("main") == "main");
  CHECK(symbols::path_of("void std::vector<int>::push_back(int const&)") == "std::vector<int>::push_back");
  CHECK(symbols::path_of("std::pair<int, A> make<A>(A const&) [clone .cold]") == "make<A>");
  CHECK(symbols::path_of("operator new(unsigned long)") == "operator new");
  CHECK(symbols::path_of("operator new[](unsigned long, std::nothrow_t const&)") == "operator new[]");
  CHECK(symbols::path_of("(anonymous namespace)::f(int)") == "(anonymous namespace)::f");
  CHECK(symbols::path_of("main::{lambda(int)#1}::operator()(int) const") == "main::{lambda(int)#1}::operator()");
  CHECK(symbols::path_of("<alloc::vec::Vec<T> as core::clone::Clone>::clone") ==
        "<alloc::vec::Vec<T> as core::clone::Clone>::clone");
}

TEST_CASE("plumbing: what hands out memory for others") {
  for (const char* function :
       {"malloc", "zmalloc", "ztrymalloc_usable_internal", "xcalloc", "g_malloc0", "g_strdup", "PyMem_RawMalloc",
        "_PyObject_Malloc", "operator new(unsigned long)", "operator new[](unsigned long)", "__rust_alloc",
        "__rdl_realloc", "WTF::fastMalloc(unsigned long)", "ngx_palloc", "MemoryContextAlloc",
        "_cgo_e1fb_Cfunc__Cmalloc", "runtime.asmcgocall.abi0", "_PyObject_GC_New", "posix_memalign",
        "<tikv_jemallocator::Jemalloc as core::alloc::global::GlobalAlloc>::alloc"}) {
    CAPTURE(function);
    CHECK(plumbing_of(function) == Plumbing::kAllocation);
  }
  for (const char* function :
       {"main", "cache_alloc", "Malloced::grow(int)", "store::make_entry()", "parse", "", "newest",
        "operator_news", "PyUnicode_New", "allocate_page", "kernel::run(std::vector<int>&)"}) {
    CAPTURE(function);
    CHECK(plumbing_of(function) == Plumbing::kNone);
  }
}

TEST_CASE("plumbing: the languages' own libraries") {
  for (const char* function :
       {"std::vector<int, std::allocator<int> >::_M_realloc_insert<int>(int&&)",
        "void std::vector<int>::emplace_back<int>(int&&)", "std::__cxx11::basic_string<char>::_M_create(unsigned long&, unsigned long)",
        "__gnu_cxx::new_allocator<int>::allocate(unsigned long, void const*)",
        "std::_Function_handler<void (int), Handler>::_M_invoke(std::_Any_data const&, int&&)",
        "std::_Rb_tree<int, main::{lambda(int)#1}>::_M_insert_(int)",  // a lambda that compares, inside a container
        "alloc::raw_vec::RawVec<T,A>::grow_one", "<alloc::vec::Vec<T> as core::clone::Clone>::clone",
        "<u8 as alloc::slice::hack::ConvertVec>::to_vec", "<[T]>::to_vec", "hashbrown::raw::RawTable<T>::reserve_rehash",
        "<&T as core::convert::Into<U>>::into", "core::ops::function::FnOnce::call_once"}) {
    CAPTURE(function);
    CHECK(plumbing_of(function) == Plumbing::kLibrary);
  }
  for (const char* function :
       {"<mine::Tree as core::clone::Clone>::clone", "<&mine::Tree as core::iter::IntoIterator>::into_iter",
        "core::Heap::grow(int)", "alloc::pool::get(unsigned long)",  // C++: not Rust's crates
        "mine::main::{{closure}}"}) {
    CAPTURE(function);
    CHECK(plumbing_of(function) == Plumbing::kNone);
  }
}

TEST_CASE("plumbing: code that was inlined into a function of std:: keeps its name") {
  for (const char* function :
       {"std::_Function_handler<void (int), build_index()::{lambda(int)#1}>::_M_invoke(std::_Any_data const&, int&&)",
        "void std::__invoke_impl<void, main::{lambda()#2}>(std::__invoke_other, main::{lambda()#2}&&)",
        "std::thread::_State_impl<std::thread::_Invoker<std::tuple<main::{lambda()#1}> > >::_M_run()",
        "std::sys::backtrace::__rust_begin_short_backtrace::<mine::main::{closure#0}, ()>"}) {
    CAPTURE(function);
    CHECK(plumbing_of(function) == Plumbing::kNone);
  }
}

TEST_CASE("naming: the first function of the program, whatever lies between it and malloc") {
  Sites s;
  CHECK(s.name_of({"zmalloc", "keep_record", "handle", "main"}) == "keep_record");
  CHECK(s.name_of({"operator new(unsigned long)", "std::vector<int>::reserve(unsigned long)", "keep()", "main"}) ==
        "keep()");
  CHECK(s.name_of({"keep", "zmalloc", "main"}) == "keep");
  // What libc allocates it does for its caller; a function of the program without a name is still the program's.
  CHECK(s.name_of_frames({s.frame("getdelim", "/lib/libc.so.6"), s.frame("read_line"), s.frame("main")}) == "read_line");
  CHECK(s.name_of_frames({s.frame("", "/lib/libstdc++.so.6"), s.frame(""), s.frame("main")}) == "");
  CHECK(naming_function(s.rows[0]).frame->module == "/bin/program");
  // Nothing but plumbing: the outermost function of the library, else the leaf.
  CHECK(s.name_of({"operator new(unsigned long)", "std::vector<int>::reserve(unsigned long)",
                   "std::thread::_State_impl<Worker>::_M_run()", "start_thread", "clone3"}) ==
        "std::thread::_State_impl<Worker>::_M_run()");
  CHECK(s.name_of_frames({s.frame("malloc_printerr", "/lib/libc.so.6"), s.frame("_start")}) == "malloc_printerr");
  SiteRow none{};
  CHECK(naming_function(none).frame == nullptr);
}

TEST_CASE("naming: the user's list") {
  Sites s;
  CHECK(s.name_of({"pool_get", "keep", "main"}) == "pool_get");
  CHECK(s.name_of({"pool_get", "keep", "main"}, "pool_get") == "keep");
  CHECK(s.name_of({"ns::Pool::get(int)", "ns::Pool::grow(int)", "keep", "main"}, "x*, ns::Pool::*") == "keep");
  CHECK(s.name_of({"pool_get_more", "keep", "main"}, "pool_get,pool") == "pool_get_more");
}

TEST_CASE("naming: calls that were inlined have names of their own") {
  Sites s;
  auto* lines = new std::vector<SourceLine>{{"std::vector<int>::push_back(int&&)", "vector", 10, true},
                                            {"Index::add(int)", "index.cpp", 20, true},
                                            {"std::for_each<I, main::F>(I, I, F)", "algo.h", 30, false}};
  Frame frame{0, 0, "/bin/program", 0x1000, "std::for_each<I, main::F>(I, I, F)", 40, *lines};
  CHECK(s.name_of_frames({&frame, s.frame("main")}) == "Index::add(int)");
  CHECK(naming_function(s.rows[0]).inlined);
  // Names of local classes have no namespace: the source file tells whose they are.
  *lines = {{"__invoke_impl<void, main()::<lambda(int)>&>", "/usr/include/c++/12/bits/invoke.h", 61, true},
            {"main::<lambda(int)>::operator()", "index.cpp", 7, true},
            {"std::for_each<I, main::F>(I, I, F)", "/usr/include/c++/12/bits/stl_algo.h", 30, false}};
  frame.lines = *lines;
  CHECK(s.name_of_frames({&frame, s.frame("main")}) == "main::<lambda(int)>::operator()");
}

TEST_CASE("naming: a thin function that sites with many callers share is a wrapper") {
  Sites s;
  const auto named = [&s](int callers, std::uint64_t offset, int places) {
    s.rows.clear();
    std::vector<const Frame*> shared;
    for (int i = 0; i < places; ++i) shared.push_back(s.frame("get_buffer", "/bin/program", offset));
    static const char* const kCallers[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
    for (int i = 0; i < callers; ++i)
      s.add({shared[static_cast<std::size_t>(i % places)], s.frame(kCallers[i]), s.frame("main")});
    name_sites(s.arena, s.rows, {});
    CHECK(StackWalk(s.rows[0], s.rows[0].naming_by_name).get().name == "get_buffer");
    return std::string(naming_function(s.rows[0]).name);
  };
  CHECK(named(kSharedByCallers, kThinBytes, 1) == "a");
  CHECK(named(kSharedByCallers - 1, kThinBytes, 1) == "get_buffer");
  CHECK(named(kSharedByCallers, kThinBytes + 1, 1) == "get_buffer");
  CHECK(named(kSharedByCallers, 40, 2) == "a");
  CHECK(named(kSharedByCallers, 40, 3) == "get_buffer");  // it allocates here and there: it does something
}

TEST_CASE("naming: many stacks of one caller are no reason to fold") {
  Sites s;
  const Frame* shared = s.frame("get_buffer");
  for (int i = 0; i < 50; ++i) s.add({shared, s.frame("walk"), s.frame("main")});
  name_sites(s.arena, s.rows, {});
  CHECK(naming_function(s.rows[49]).name == "get_buffer");
}
