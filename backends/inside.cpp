// SPDX-License-Identifier: Apache-2.0
// An allocator inside the executable that serves by itself, and is observed: how a report asks it.
#include "backends/backend.hpp"

#include "base/os.hpp"
#include "elf/loaded_objects.hpp"
#include "heaps/jemalloc.hpp"
#include "heaps/mimalloc.hpp"
#include "heaps/pages_in_memory.hpp"

namespace mallard::backends {
namespace {

constinit heaps::JemallocAccess g_jemalloc{};
constinit heaps::MimallocAccess g_mimalloc{};
constinit heaps::PagesInMemory g_pages;

heaps::CensusResult census_of_no_form() noexcept {
  return {.done = false,
          .why_not = "the program does not contain the functions that say how large its blocks are, and by the pages "
                     "of its heap alone no form was found"};
}
heaps::CensusResult census_of_jemalloc(const heaps::CensusRequest& request) noexcept {
  heaps::JemallocAccess& access = g_jemalloc;
  if (!access.mallctl && access.map.root == 0)
    access.map = heaps::find_jemalloc_map(request.process, access.data, g_pages.find(request));
  return access.mallctl || access.map.root != 0 ? heaps::jemalloc_census(access, request) : census_of_no_form();
}
heaps::CensusResult census_of_mimalloc(const heaps::CensusRequest& request) noexcept {
  heaps::MimallocAccess& access = g_mimalloc;
  if (!access.malloc && !access.layout.shape)
    access.layout = heaps::find_mimalloc_layout(request.process, access.data, g_pages.find(request));
  return access.malloc || access.layout.shape ? heaps::mimalloc_census(access, request) : census_of_no_form();
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
  // One that lacks a function of these is asked for nothing: its form is found as from outside.
  const bool answers = functions.malloc && functions.free && functions.usable_size;
  out->census = nullptr;
  if (name == "jemalloc") {
    set_conf_variable(prefix, out);
    g_jemalloc = {.mallctl = answers ? functions.mallctl : nullptr,
                  .malloc = functions.malloc,
                  .free = functions.free,
                  .usable_size = functions.usable_size,
                  .data = data,
                  .arenas_can_end = true};
    out->census = census_of_jemalloc;
  } else if (name == "mimalloc") {
    g_mimalloc = {.malloc = answers ? functions.malloc : nullptr,
                  .free = functions.free,
                  .usable_size = functions.usable_size,
                  .data = data};
    out->census = census_of_mimalloc;
  }
}

}  // namespace mallard::backends
