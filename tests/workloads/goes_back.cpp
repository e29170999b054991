// SPDX-License-Identifier: Apache-2.0
// goes_back MEGABYTES SEED: three sites whose blocks stay among blocks that leave: one has memory to itself, two
// lie partly alone and partly together; a fourth has large blocks. After the report a child for each set of
// sites frees their blocks, has the allocator purge, and measures what went back to the kernel.
#include <malloc.h>
#include <sys/wait.h>

#include <initializer_list>

#include "workload.hpp"

using namespace workload;

SITE_FUNCTION(make_node, malloc(size))
SITE_FUNCTION(keep_note, malloc(size))
SITE_FUNCTION(keep_session, malloc(size))
SITE_FUNCTION(keep_entry, malloc(size))
SITE_FUNCTION(keep_table, malloc(size))

namespace {

enum { kNote = 1, kSession = 2, kEntry = 4, kTable = 8 };
struct Kept {
  void* block;
  int site;
};

/// What goes back if the blocks of these sites are freed: the child's memory is the parent's at this moment.
/// Pages of files do not count: a child maps them anew.
std::uint64_t freed_in_child(List<Kept>& kept, int sites, std::uint64_t* shared) {
  const pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    const std::uint64_t before = rollup_bytes("\nAnonymous:");
    for (const Kept& k : kept)
      if (k.site & sites) free(k.block);
    malloc_trim(0);
    const std::uint64_t after = rollup_bytes("\nAnonymous:");
    *shared = before > after ? before - after : 0;
    _exit(0);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child || status != 0) fail("a child");
  return *shared;
}

}  // namespace

int main(int count, char** words) {
  const std::uint64_t megabytes = argument(count, words, 1, 80);
  Random random(argument(count, words, 2, 1));
  constexpr std::size_t kSmall = 240, kMiddle = 3000, kLarge = 300 << 10;
  List<void*> nodes(megabytes * kMega / 100);
  List<Kept> kept(megabytes * kMega / 100);
  const auto add_node = [&](std::size_t size) {
    nodes.push(make_node(size));
    touch(nodes[nodes.size() - 1], size);
  };
  const auto keep = [&](void* block, std::size_t size, int site) {
    touch(block, size);
    kept.push({block, site});
  };
  // Of 16 blocks one of each of these sites stays. All phases come by the same calls, so that each is one site.
  const struct {
    std::uint64_t tenths;
    std::size_t size;
    int sites;
  } phases[] = {{2, kSmall, kNote}, {2, kSmall, kSession}, {3, kSmall, kNote | kSession}, {2, kMiddle, kEntry}};
  for (const auto& phase : phases)
    for (std::uint64_t left = megabytes * kMega * phase.tenths / 10; left > 16 * phase.size; left -= 16 * phase.size) {
      const std::uint64_t at = random.below(14);
      for (std::uint64_t i = 0; i < 14; i++) {
        if (i == at && (phase.sites & kNote)) keep(keep_note(phase.size), phase.size, kNote);
        if (i == at && (phase.sites & kSession)) keep(keep_session(phase.size), phase.size, kSession);
        if (i == at && (phase.sites & kEntry)) keep(keep_entry(phase.size), phase.size, kEntry);
        add_node(phase.size);
      }
    }
  for (std::uint64_t left = megabytes * kMega / 10; left > kLarge; left -= kLarge)
    keep(keep_table(kLarge), kLarge, kTable);
  for (void* node : nodes) free(node);
  nodes.shorten(0);
  malloc_trim(0);
  ask_for_report();

  auto* shared = static_cast<std::uint64_t*>(map_memory(kPage, MAP_SHARED | MAP_ANONYMOUS));
  fputs("{", stdout);
  for (const int sites : {+kNote, +kSession, +kEntry, +kTable, kNote | kSession}) {
    const std::uint64_t gone = freed_in_child(kept, sites, shared);
    printf("%s\"%s%s%s%s\": %" PRIu64, sites == kNote ? "" : ", ", sites & kNote ? " keep_note" : "",
           sites & kSession ? " keep_session" : "", sites & kEntry ? " keep_entry" : "",
           sites & kTable ? " keep_table" : "", gone);
  }
  puts("}");
}
