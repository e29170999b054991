// SPDX-License-Identifier: Apache-2.0
// An allocator inside the executable that serves by itself, and is observed: how a report asks it.
#include "backends/backend.hpp"

#include "base/os.hpp"
#include "elf/loaded_objects.hpp"
#include "heaps/jemalloc.hpp"
#include "heaps/mimalloc.hpp"

namespace mallard::backends {
namespace {

constinit heaps::JemallocAccess g_jemalloc{};
constinit heaps::MimallocAccess g_mimalloc{};

heaps::CensusResult census_of_jemalloc(const heaps::CensusRequest& request) noexcept {
  return heaps::jemalloc_census(g_jemalloc, request);
}
heaps::CensusResult census_of_mimalloc(const heaps::CensusRequest& request) noexcept {
  return heaps::mimalloc_census(g_mimalloc, request);
}
heaps::CensusResult census_without_functions(const heaps::CensusRequest&) noexcept {
  return {.done = false,
          .why_not = "the program does not contain the functions that say how large its blocks are; "
                     "mallard dump PID looks for their form from outside"};
}

/// A jemalloc that was built with a prefix has it before the name of its variable, too.
void set_conf_variable(std::string_view prefix, Backend* out) noexcept {
  TextBuffer to(out->conf_variable, sizeof out->conf_variable);
  to.clear();
  for (const char c : prefix) to.add(c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c);
  to.add("MALLOC_CONF");
}

}  // namespace

void use_inside(std::string_view name, std::string_view prefix, const InsideFunctions& functions, const char* (*ask_version)(),
                Backend* out) noexcept {
  const link_map* program = elf::first_object();
  AddressRange data{};
  elf::data_range(program, &data.begin, &data.end);
  out->object = program;
  set_text(out->name, sizeof out->name, name);
  set_text(out->version, sizeof out->version, "unknown");
  const long length =
      os::call(SYS_readlink, os::arg("/proc/self/exe"), os::arg(out->path), sizeof out->path - 1);
  out->path[length > 0 ? length : 0] = '\0';
  out->ask_version = ask_version;
  const bool answers = functions.malloc && functions.free && functions.usable_size;
  out->census = nullptr;
  if (name == "jemalloc") {
    set_conf_variable(prefix, out);
    g_jemalloc = {.mallctl = functions.mallctl,
                  .malloc = functions.malloc,
                  .free = functions.free,
                  .usable_size = functions.usable_size,
                  .data = data,
                  .arenas_can_end = true};
    out->census = answers && functions.mallctl ? census_of_jemalloc : census_without_functions;
  } else if (name == "mimalloc") {
    g_mimalloc = {.malloc = functions.malloc,
                  .free = functions.free,
                  .usable_size = functions.usable_size,
                  .data = data};
    out->census = answers ? census_of_mimalloc : census_without_functions;
  }
}

}  // namespace mallard::backends
