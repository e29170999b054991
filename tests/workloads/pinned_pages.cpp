// SPDX-License-Identifier: Apache-2.0
// pinned_pages MEGABYTES SEED: half of the heap are session objects, of which 99 % are freed at random. The
// hundredth that stays pins pages: little live memory, much resident. The other sites stay as they are.
#include <cmath>

#include "live_heap.hpp"

using namespace workload;

SITE_FUNCTION(site_session, malloc(size))
SITE_FUNCTION(site_node, malloc(size))
SITE_FUNCTION(site_name, malloc(size))
SITE_FUNCTION(site_cache, malloc(size))
SITE_FUNCTION(site_buffer, malloc(size))
SITE_FUNCTION(site_partly_touched, malloc(size))
SITE_FUNCTION(site_sparse, calloc(1, size))

namespace {

struct Site {
  const char* name;
  void* (*allocate)(std::size_t);
  double share;           ///< of the heap, by bytes
  std::size_t run_bytes;  ///< allocated at a stretch
};

enum { kSession, kNode, kName, kCache, kBuffer, kPartlyTouched, kSparse, kSiteCount };
const Site kSites[kSiteCount] = {
    {"site_session", site_session, 0.50, 128 << 10},
    {"site_node", site_node, 0.10, 512},
    {"site_name", site_name, 0.05, 108},
    {"site_cache", site_cache, 0.12, 4000},
    {"site_buffer", site_buffer, 0.08, 22 << 10},
    {"site_partly_touched", site_partly_touched, 0.10, 3 << 20},
    {"site_sparse", site_sparse, 0.05, 3 << 20},
};

std::size_t draw_size(int site, Random& random) {
  switch (site) {
    case kSession:
      return random.between(25, 32);
    case kNode:
      return 48;
    case kName:
      return random.between(16, 200);
    case kCache: {  // log-normal around 350 bytes
      const double normal =
          std::sqrt(-2 * std::log(random.unit() + 1e-12)) * std::cos(6.283185307 * random.unit());
      return static_cast<std::size_t>(std::fmin(std::fmax(350 * std::exp(0.6 * normal), 40), 4000));
    }
    case kBuffer:
      return static_cast<std::size_t>(4096 * std::exp(random.unit() * std::log(16)));
    default:
      return random.between(2 << 20, 4 << 20);
  }
}

void use(int site, void* block, std::size_t size) {
  char* at = static_cast<char*>(block);
  if (site == kPartlyTouched) return touch(at, size / 4);
  if (site == kSparse)
    for (std::size_t i = 0; i < size; i += 16 * kPage) at[i] = 1;
  else touch(at, size);
}

void fill(std::uint64_t bytes, Random& random, List<void*>& sessions, List<Block>& others) {
  double left[kSiteCount];
  for (int i = 0; i < kSiteCount; i++) left[i] = static_cast<double>(bytes) * kSites[i].share;
  for (;;) {
    double runs[kSiteCount], all = 0;
    for (int i = 0; i < kSiteCount; i++)
      all += runs[i] = left[i] > 0 ? std::ceil(left[i] / static_cast<double>(kSites[i].run_bytes)) : 0;
    if (all == 0) return;
    double pick = random.unit() * all;
    int site = 0;
    while (site < kSiteCount - 1 && (pick -= runs[site]) >= 0) site++;
    while (left[site] <= 0) site = (site + 1) % kSiteCount;  // rounding put the pick past the last
    for (std::size_t done = 0; done < kSites[site].run_bytes && left[site] > 0;) {
      const std::size_t size = draw_size(site, random);
      void* block = kSites[site].allocate(size);
      use(site, block, size);
      if (site == kSession) {
        memcpy(block, &size, sizeof size);  // so that the books need an address alone
        sessions.push(block);
      } else {
        others.push({reinterpret_cast<std::uintptr_t>(block), size, static_cast<std::uint16_t>(site)});
      }
      done += size;
      left[site] -= static_cast<double>(size);
    }
  }
}

}  // namespace

int main(int count, char** words) {
  const std::uint64_t bytes = argument(count, words, 1, 1024) * kMega;
  Random random(argument(count, words, 2, 1));
  List<void*> sessions(bytes / 40);
  List<Block> others(bytes / 80);
  fill(bytes, random, sessions, others);

  std::size_t kept = 0;
  for (void* session : sessions) {
    if (random.below(100) == 0) sessions[kept++] = session;
    else free(session);
  }
  sessions.shorten(kept);
  for (void* session : sessions)
    others.push({reinterpret_cast<std::uintptr_t>(session), *static_cast<std::size_t*>(session), kSession});

  const HeapTruth heap = divide_heap(others);
  Truth truth;
  for (int i = 0; i < kSiteCount; i++)
    truth.site(kSites[i].name, heap.sites[i].live_bytes,
               static_cast<std::uint64_t>(heap.sites[i].resident_bytes));
  const auto pinned = static_cast<std::uint64_t>(heap.pinned_bytes);
  truth.cause("live", static_cast<std::uint64_t>(heap.live_bytes), pinned / 100);
  truth.cause("holes", static_cast<std::uint64_t>(heap.holes_bytes()), pinned / 50);
  truth.verdict("external_fragmentation");
  truth.rss();
  ask_for_report();
  truth.print();
}
