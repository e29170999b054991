// SPDX-License-Identifier: Apache-2.0
// Names for people: what libiberty makes of mangled names within our bounds, and how long ones are shortened.
#include "symbols/demangle.hpp"

#include <pthread.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "tests/unit/catch.hpp"

using namespace mallard;

namespace {

std::string demangled(std::string_view mangled, std::size_t bytes = 4096) {
  symbols::Demangler demangler;
  std::vector<char> to(bytes);  // exact: ASan sees a write behind the end
  return std::string(demangler.demangle(mangled, to.data(), to.size()));
}

std::string shortened(std::string_view name, std::size_t columns) {
  std::vector<char> to(columns);
  const auto result = symbols::shorten_name(name, to.data(), to.size(), columns);
  CHECK(result.size() <= columns);
  return std::string(result);
}

double seconds_for(const std::string& mangled) {
  const auto start = std::chrono::steady_clock::now();
  demangled(mangled, 2048);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

TEST_CASE("demangle: C++") {
  CHECK(demangled("_ZN3foo3barEi") == "foo::bar(int)");
  CHECK(demangled("_Znwm") == "operator new(unsigned long)");
  CHECK(demangled("_ZNSt6vectorIiSaIiEE9push_backERKi") ==
        "std::vector<int, std::allocator<int> >::push_back(int const&)");
  CHECK(demangled("_Z3addIiET_S0_S0_") == "add<int>(int, int)");  // without the return type
  CHECK(demangled("_ZNK3foo3barEv") == "foo::bar() const");
  CHECK(demangled("_ZN12_GLOBAL__N_11fEv") == "(anonymous namespace)::f()");
  CHECK(demangled("_ZZ4mainENKUlvE_clEv") == "main::{lambda()#1}::operator()() const");
  CHECK(demangled("_Z3foov.cold") == "foo() [clone .cold]");
}

TEST_CASE("demangle: Rust, both manglings, without hashes") {
  CHECK(demangled("_ZN4core3fmt9Formatter9write_str17h0123456789abcdefE") ==
        "core::fmt::Formatter::write_str");
  CHECK(
      demangled(
          "_ZN63_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$core..clone..Clone$GT$5clone17h0123456789abcdefE") ==
      "<alloc::vec::Vec<T> as core::clone::Clone>::clone");
  CHECK(demangled("_RNvCs1234_7mycrate3foo") == "mycrate::foo");
  CHECK(demangled("_RNvMsr_NtCs3ssYzQotkvD_3std4pathNtB5_7PathBuf3newCs15kBYyAo9fc_7mycrate") ==
        "<std::path::PathBuf>::new");
  CHECK(demangled("_RNvC6_123foo3bar") == "123foo::bar");
  CHECK(demangled("_RNqCs4fqI2P2rA04_11utf8_identsu30____7hkackfecea1cbdathfdh9hlq6y") ==
        "utf8_idents::\u10e1\u10d0\u10ed\u10db\u10d4\u10da\u10d0\u10d3_"
        "\u10d2\u10d4\u10db\u10e0\u10d8\u10d4\u10da\u10d8_\u10e1\u10d0\u10d3\u10d8\u10da\u10d8");
}

TEST_CASE("demangle: everything else stays as it is") {
  for (const char* name :
       {"", "main", "_", "_Z", "_R", "_ZN", "_ZNfoo", "_Zfoo", "_start", "_Zzzzz", "_RNvC", "[vdso]"})
    CHECK(demangled(name) == name);
  CHECK(demangled(std::string(10'000, '_')) == std::string(10'000, '_'));
  CHECK(demangled("_ZN3foo3barEi", 4) == "_ZN3foo3barEi");  // no room at all
}

TEST_CASE("demangle: what does not fit loses its parameters, then its end") {
  CHECK(demangled("_ZN3foo3barEiiii", 12) == "foo::bar");
  CHECK(demangled("_ZN3foo3barEiiii", 8) == "foo::bar");
  CHECK(demangled("_ZN11some_longer3barEiiii", 12) == "some_long...");
  CHECK(demangled("_RNvCs1234_7mycrate3foo", 8) == "mycra...");
}

TEST_CASE("demangle: hostile names end soon and stay on their stack") {
  // Each substitution doubles what is printed: 2^40 characters, if one let it.
  std::string doubling = "_Z1fSt4pairIiiE";
  doubling = "_Z1f1AIiiE";
  for (char s = '0'; s <= '9'; ++s) doubling += std::string("S0_IS") + s + "_S" + s + "_E";
  CHECK(seconds_for(doubling) < 2);
  std::string rust = "_RMC0";
  for (int i = 0; i < 30; ++i) rust += "TB4_B4_";
  CHECK(seconds_for(rust + std::string(30, 'E')) < 2);
  for (std::string_view part :
       {"P",  "R", "K",   "N",  "I",  "F",  "S_I", "T",  "St", "X", "D",  "DT", "cv",  "A_", "M",
        "Dp", "L", "1AI", "ad", "sr", "on", "U1f", "_Z", "J",  "Z", "1f", "O",  "RT_", "fp"}) {
    for (std::size_t size : {100u, 1000u, 1020u, 5000u, 8180u}) {
      std::string name;
      while (name.size() < size) name += part;
      for (const char* start : {"_Z1f", "_ZN", "_Z1fI", "_RNv", "_RI", "_RINvC1a1f", "_RMC0"}) {
        CHECK(seconds_for(start + name) < 5);
        CHECK(seconds_for(start + name + "iE" + std::string(500, 'E')) < 5);
      }
    }
  }
}

TEST_CASE("demangle: random and damaged names") {
  std::mt19937 generator(42);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(generator()) % n; };
  const std::string alphabet = "NISTKPRFEiv0123456789_abZLXDCBtuMsOJ.$";
  const std::string seeds[] = {
      "_ZNSt6vectorIiSaIiEE9push_backERKi",
      "_RNvMsr_NtCs3ssYzQotkvD_3std4pathNtB5_7PathBuf3newCs15kBYyAo9fc_7mycrate",
      "_ZN63_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$core..clone..Clone$GT$5clone17h0123456789abcdefE"};
  symbols::Demangler demangler;
  char to[512];
  for (int i = 0; i < 60'000; ++i) {
    std::string name;
    if (i % 2) {
      name = {'_', i % 4 == 1 ? 'Z' : 'R'};
      for (std::size_t n = below(60); n > 0; --n) name += alphabet[below(alphabet.size())];
    } else {
      name = seeds[below(3)];
      for (std::size_t n = 1 + below(3); n > 0; --n)
        name[2 + below(name.size() - 2)] = alphabet[below(alphabet.size())];
    }
    const auto result = demangler.demangle(name, to, sizeof to);
    REQUIRE(result.size() <= std::max(sizeof to, name.size()));
    char narrow[40];
    REQUIRE(symbols::shorten_name(result, narrow, sizeof narrow, 40).size() <= 40);
  }
}

TEST_CASE("demangle: works on the smallest of stacks, keeps errno") {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 256 * 1024);
  pthread_t thread;
  REQUIRE(pthread_create(
              &thread, &attributes,
              [](void*) -> void* {
                std::string name = "_Z1f";
                while (name.size() < 1000) name += 'P';
                errno = 77;
                symbols::Demangler demangler;
                static char to[4096];
                demangler.demangle(name + 'i', to, sizeof to);
                return reinterpret_cast<void*>(static_cast<std::intptr_t>(errno));
              },
              nullptr) == 0);
  void* result;
  pthread_join(thread, &result);
  CHECK(reinterpret_cast<std::intptr_t>(result) == 77);
}

TEST_CASE("shorten: what fits is left alone") {
  CHECK(shortened("main", 76) == "main");
  CHECK(shortened("f(int)", 10) == "f(int)");
}

TEST_CASE("shorten: first the parameters go, then template arguments, then the middle") {
  const char* insert =
      "std::map<std::string, std::vector<int, std::allocator<int> > >::insert(std::pair<int, int>, bool)";
  CHECK(shortened(insert, 90) ==
        "std::map<std::string, std::vector<int, std::allocator<int> > >::insert(...)");
  CHECK(shortened(insert, 60) == "std::map<std::string, std::vector<...> >::insert(...)");
  CHECK(shortened(insert, 40) == "std::map<...>::insert(...)");
  CHECK(shortened(insert, 25) == "std::map...insert(...)");
  CHECK(shortened("void_namespace::sub_namespace::another_namespace::the_class::the_function(int, int)",
                  40) == "void_namespace::sub_...the_function(...)");
}

TEST_CASE("shorten: brackets that are none") {
  CHECK(
      shortened(
          "std::ostream& my_operators::operator<< <std::char_traits<char> >(std::ostream&, char const*)", 60)
          .find("operator<< <...>(...)") != std::string::npos);
  CHECK(shortened("some_class_name::operator()(some_parameter_type, another_one) const", 40) ==
        "some_class_name::operator()(...)");
  CHECK(shortened("(anonymous namespace)::function_name(some_parameter_type)", 45) ==
        "(anonymous namespace)::function_name(...)");
  CHECK(shortened("some_class_name::operator->(some_parameter_type, another_one)", 40) ==
        "some_class_name::operator->(...)");
  CHECK(shortened("outer_function(int, int)::{lambda(some_type)#1}::operator()(some_type, int) const", 70) ==
        "outer_function(int, int)::{lambda(some_type)#1}::operator()(...)");
}

TEST_CASE("shorten: Rust paths") {
  CHECK(shortened("<alloc::vec::Vec<T, A> as core::iter::Extend<T> >::extend_desugared_for_long", 60)
            .find("extend_desugared_for_long") != std::string::npos);
  CHECK(
      shortened("core::ops::function::FnOnce::call_once{{vtable.shim}}::with::something::more", 40).size() <=
      40);
}

TEST_CASE("shorten: any width, any text, no cut characters") {
  const std::string name =
      "\u10e1\u10d0\u10ed::Vec<\u10db\u10d4<\u10da\u10d0> "
      ">::\u10d3\u10d2\u10d4\u10db\u10e0\u10d8(\u10d4\u10da\u10d8)";
  for (std::size_t columns = 0; columns < name.size() + 3; ++columns) shortened(name, columns);
  for (const char* odd :
       {"((((((((((((((((((((", "))))))))))))))))))))", "<<<<<<<<<<<<<<<<<<<<<", "operatoroperatoroperator",
        "::::::::::::::::::::::::", "operator<<<<<<<<<<<<<<<<<", "f(((((((((((((((((()"})
    for (std::size_t columns = 0; columns < 30; ++columns) shortened(odd, columns);
}
