// SPDX-License-Identifier: Apache-2.0
#include "cli/check/process_bindings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "cli/file.hpp"
#include "cli/process/memory_file.hpp"
#include "inside/bindings.hpp"

namespace mallard::cli {
namespace {

bool copy_from(void* opaque, void* to, std::uintptr_t from, std::size_t bytes) noexcept {
  return static_cast<const MemoryFile*>(opaque)->read(from, to, bytes);
}

std::string owner_of(const Process& process, std::uintptr_t address) {
  for (const ProcessRange& r : process.code)
    if (address >= r.begin && address < r.end) return r.path;
  return {};
}

}  // namespace

void add_bindings(const Process& process, const std::string& mallard_path,
                  std::vector<ObjectReport>* objects) {
  MemoryFile memory(process.pid);
  if (!memory.is_open()) return;
  const auto room = std::make_unique<inside::Bindings>();
  const bool program_has_malloc =
      !objects->empty() && std::any_of(objects->front().findings.begin(), objects->front().findings.end(),
                                       [](const Finding& f) { return f.id == "own_malloc"; });
  for (ObjectReport& o : *objects) {
    const auto first = process.first_pages.find(o.path);
    if (first == process.first_pages.end() || base_name(o.path).starts_with("libmallard.so")) continue;
    inside::read_bindings(first->second, copy_from, &memory, room.get());
    for (std::size_t i = 0; room->readable && i < std::min<std::size_t>(room->count, inside::kMaxBindings);
         ++i) {
      std::string target = owner_of(process, room->targets[i]);
      // A program that is not position-independent lends its stub to all objects.
      if (target.empty() || (target == process.executable && !program_has_malloc)) continue;
      const auto known = std::find_if(o.bindings.begin(), o.bindings.end(),
                                      [&](const BoundTo& b) { return b.object == target; });
      if (known == o.bindings.end()) o.bindings.push_back({std::move(target), 1});
      else ++known->references;
    }
    // libc and the loader call functions of their own; an allocator behind mallard calls itself.
    const std::string_view name = base_name(o.path);
    if (mallard_path.empty() || program_has_malloc || name == "libc.so.6" || name.starts_with("ld-linux-"))
      continue;
    for (const BoundTo& b : o.bindings)
      if (b.object != mallard_path && b.object != o.path)
        o.findings.push_back(
            {"bound_elsewhere", Severity::kPart,
             fmt::format("has {} reference{} to the malloc family that lead{} to '{}', not to mallard",
                         b.references, b.references == 1 ? "" : "s", b.references == 1 ? "s" : "",
                         base_name(b.object)),
             "load it without RTLD_DEEPBIND and not by dlmopen"});
  }
}

}  // namespace mallard::cli
