// SPDX-License-Identifier: Apache-2.0
#include "record/live_table.hpp"

#include <sys/mman.h>

#include <bit>

#include "base/growing.hpp"
#include "base/lock.hpp"
#include "base/os.hpp"
#include "record/filter.hpp"
#include "record/published.hpp"
#include "record/sampler.hpp"

// Made by the linker: where the zero-initialised memory of this object begins and ends.
extern "C" __attribute__((visibility("hidden"))) const char __bss_start[], _end[];

alignas(4096) MALLARD_FILTER_DATA constinit std::uint8_t mallard_filter[MALLARD_FILTER_SLOTS] = {};

namespace mallard::record {
namespace {

using Index = std::uint32_t;  // of a node; 0 = none
constexpr Index kBucketsPerShard = 1024;
constexpr double kWeightError = 1e-9;

struct Node {
  LiveBlock block;
  Index next;
};

struct alignas(64) Shard {
  Lock lock;
  Index free_list = 0;
  std::uint32_t count = 0;
};

MALLARD_FORK_DATA constinit Shard g_shards[kShards];
constinit Index g_buckets[kShards * kBucketsPerShard];  // [shard][bucket]
constinit GrowingArray<Node, kMaxLive, 64> g_nodes;
constinit std::atomic<Index> g_used{1};
MALLARD_PART(live_nodes, g_nodes);
MALLARD_PART(live_used, g_used);

/// Pages of the filter that were written. Those that were only read are the kernel's shared page of zeros.
constinit std::atomic<std::uint64_t> g_filter_pages[MALLARD_FILTER_SLOTS / kPageBytes / 64];

void note_filter_page(std::uint32_t slot) noexcept {
  const std::size_t page = slot / kPageBytes;
  const std::uint64_t bit = std::uint64_t{1} << page % 64;
  std::atomic<std::uint64_t>& word = g_filter_pages[page / 64];
  if (!(word.load(std::memory_order_relaxed) & bit)) word.fetch_or(bit, std::memory_order_relaxed);
}

std::uint64_t filter_own_bytes() noexcept {
  std::uint64_t pages = 0;
  for (const auto& word : g_filter_pages)
    pages += static_cast<std::uint64_t>(std::popcount(word.load(std::memory_order_relaxed)));
  return pages * kPageBytes;
}

// Shard and bucket follow from the filter slot, so that one lock covers all users of a slot.
Index shard_of(std::uint32_t slot) noexcept { return slot % kShards; }

Index& bucket_of(std::uint32_t slot) noexcept {
  return g_buckets[shard_of(slot) * kBucketsPerShard + slot / kShards % kBucketsPerShard];
}

Index* link_to(std::uint32_t slot, std::uintptr_t address) noexcept {
  Index* link = &bucket_of(slot);
  while (*link && g_nodes[*link].block.address != address) link = &g_nodes[*link].next;
  return link;
}

/// Takes the node behind `link` out of its chain.
void unlink(Shard& shard, Index* link) noexcept {
  const Index node = *link;
  *link = g_nodes[node].next;
  g_nodes[node].next = shard.free_list;
  g_nodes[node].block.address = 0;
  shard.free_list = node;
  --shard.count;
}

Index take_node(Shard& shard) noexcept {
  if (Index node = shard.free_list) {
    shard.free_list = g_nodes[node].next;
    return node;
  }
  Index node = g_used.load(std::memory_order_relaxed);
  do {
    if (!g_nodes.open(node + 1)) return 0;
  } while (!g_used.compare_exchange_weak(node, node + 1, std::memory_order_relaxed));
  return node;
}

}  // namespace

bool live_init() noexcept {
  // Huge pages would make all of the filter resident at the first sample. For all of our zero-initialised
  // memory, as advice for a part would make three mappings of it.
  const std::uintptr_t begin = align_up(address_of(__bss_start), kPageBytes);
  os::call(SYS_madvise, static_cast<long>(begin),
           static_cast<long>(align_up(address_of(_end), kPageBytes) - begin), MADV_NOHUGEPAGE);
  if (!g_nodes.init()) return false;
  mallard_published.live = {published_rows(g_nodes),       address_of(&g_used),
                            offsetof(Node, block.address), offsetof(Node, block.asked_bytes),
                            offsetof(Node, block.weight),  offsetof(Node, block.born_ns),
                            offsetof(Node, block.site)};
  return true;
}

void live_release() noexcept {
  mallard_published.live = {};
  g_nodes.release();
}

Insert live_insert(const LiveBlock& block, LiveBlock* replaced) noexcept {
  const std::uint32_t slot = filter_slot(block.address);
  Shard& shard = g_shards[shard_of(slot)];
  LockGuard guard(shard.lock);
  if (Index old = *link_to(slot, block.address)) {
    if (replaced) *replaced = g_nodes[old].block;
    g_nodes[old].block = block;
    return Insert::kReplaced;
  }
  const Index node = take_node(shard);
  if (!node) return Insert::kFull;
  Index& head = bucket_of(slot);
  g_nodes[node].block = block;
  g_nodes[node].next = head;
  head = node;
  ++shard.count;
  filter_add(slot);
  note_filter_page(slot);
  return Insert::kNew;
}

bool live_remove(const void* p, LiveBlock* removed) noexcept {
  const std::uint32_t slot = filter_slot(address_of(p));
  Shard& shard = g_shards[shard_of(slot)];
  LockGuard guard(shard.lock);
  if (!g_nodes) return false;
  Index* link = link_to(slot, address_of(p));
  const Index node = *link;
  if (!node) return false;
  *removed = g_nodes[node].block;
  unlink(shard, link);
  filter_remove(slot);
  return true;
}

void live_clear() noexcept {
  for (Index index = 0; index < kShards; ++index) {
    Shard& shard = g_shards[index];
    LockGuard guard(shard.lock);
    for (Index b = 0; b < kBucketsPerShard; ++b)
      for (Index* head = &g_buckets[index * kBucketsPerShard + b]; *head;) {
        const std::uint32_t slot = filter_slot(g_nodes[*head].block.address);
        unlink(shard, head);
        filter_remove(slot);
      }
  }
}

std::uint32_t live_count() noexcept {
  std::uint32_t count = 0;
  for (const Shard& shard : g_shards) count += __atomic_load_n(&shard.count, __ATOMIC_RELAXED);
  return count;
}

std::uint32_t live_copy_shard(std::uint32_t index, LiveBlock* to, std::uint32_t room) noexcept {
  Shard& shard = g_shards[index];
  LockGuard guard(shard.lock);
  std::uint32_t copied = 0;
  for (Index b = 0; b < kBucketsPerShard; ++b)
    for (Index n = g_buckets[index * kBucketsPerShard + b]; n && copied < room; n = g_nodes[n].next)
      to[copied++] = g_nodes[n].block;
  return shard.count;
}

bool LiveSamples::read(const OtherParts& parts) noexcept {
  live_clear();
  for (Shard& shard : g_shards) shard.free_list = 0;  // its nodes are overwritten
  if (!parts.copy_of(g_used, &used_) || used_ > kMaxLive) return false;
  if (!g_nodes.adopt(parts, used_)) return false;
  bytes_ = used_ * sizeof(Node) + 1;
  rows_ = os::map_sparse(bytes_);
  if (!rows_) return false;
  for (Index i = 0; i < used_; ++i) static_cast<Node*>(rows_)[i] = g_nodes[i];
  return true;
}

LiveSamples::~LiveSamples() {
  if (rows_) os::unmap(rows_, bytes_);
}

bool LiveSamples::keep(std::uint64_t* torn) noexcept {
  g_used.store(1, std::memory_order_relaxed);
  *torn = 0;
  if (!g_nodes && !g_nodes.init()) return false;
  for (Index i = 1; i < used_; ++i) {
    const LiveBlock& block = static_cast<const Node*>(rows_)[i].block;
    if (block.address == 0) continue;
    // The weight follows from the size: where it does not, the row changed while it was copied.
    const double off = block.weight - weight_of(block.asked_bytes);
    const bool is_whole = off <= kWeightError * block.weight && off >= -kWeightError * block.weight &&
                          static_cast<std::uint32_t>(block.site) < site_count();
    if (!is_whole || live_insert(block) == Insert::kFull) ++*torn;
  }
  return true;
}

std::uint64_t live_own_bytes() noexcept {
  return os::resident_bytes(g_buckets, sizeof g_buckets) +
         g_nodes.resident_bytes(g_used.load(std::memory_order_relaxed)) + filter_own_bytes();
}

MALLARD_FORK_TEXT void live_before_fork() noexcept {
  for (Shard& shard : g_shards) shard.lock.lock();  // nodes are opened under one of them
}

MALLARD_FORK_TEXT void live_after_fork() noexcept {
  for (Shard& shard : g_shards) shard.lock.unlock();
}

}  // namespace mallard::record
