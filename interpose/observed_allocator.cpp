// SPDX-License-Identifier: Apache-2.0
#include "interpose/observed_allocator.hpp"

#include "elf/loaded_objects.hpp"
#include "inside/observed.hpp"
#include "inside/outcome.hpp"
#include "interpose/dispatch.hpp"

namespace mallard::interpose {
namespace {

constinit backends::Backend g_observed;
constinit const backends::Backend* g_beside = nullptr;

/// Read from its code or texts by the first report that asks.
const char* version() noexcept {
  static constinit char text[sizeof backends::Backend::version] = "";  // one report at a time
  TextBuffer to(text, sizeof text);
  if (text[0] == '\0') inside::find_observed_version(to);
  if (text[0] == '\0') to.add("unknown");
  return text;
}

}  // namespace

const backends::Backend& describe_server() noexcept {
  if (inside::takeover_outcome().state != inside::TakeoverState::kObserved) return backend();
  const bool owns_malloc = backend().object == elf::first_object();
  if (owns_malloc) g_observed = backend();
  else g_beside = &backend();
  const inside::ObservedAllocator& a = inside::observed_allocator();
  const bool is_known = a.kind != inside::EmbeddedKind::kProgram;
  backends::use_inside(is_known ? inside::name_of(a.kind) : "executable", a.prefix,
                       {a.malloc, a.free, a.usable_size, a.mallctl}, is_known ? version : nullptr, &g_observed);
  return g_observed;
}

const backends::Backend* beside_observed() noexcept { return g_beside; }

bool divides_beside() noexcept { return g_beside && view_of(g_beside->name) == "system" && g_beside->census; }

void ask_instead(heaps::CensusResult (*census)(const heaps::CensusRequest& request)) noexcept { g_observed.census = census; }

}  // namespace mallard::interpose
