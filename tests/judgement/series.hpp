// SPDX-License-Identifier: Apache-2.0
// A program of this folder works in steps. After each it prints what is true as one line of JSON and waits
// for a line, so that the runner takes a report of the very state that the line tells of. Nothing here uses
// mallard's code. Truth comes from the program's own books and from its page tables.
#pragma once

#include <algorithm>
#include <cmath>
#include <iterator>

#include "../workloads/workload.hpp"

namespace judgement {

using namespace workload;

using Allocate = void* (*)(std::size_t);

/// What a report must say. Causes are names of report/model/verdicts.def, separated by blanks: all of
/// `causes` must be found ("a|b": one of these), those of `may` can be, and any other that counts is false.
struct Label {
  const char* state;  ///< healthy, sick, or undecided: too early to tell, counts for neither side
  const char* causes;
  const char* leaf;  ///< function of the call site of the first cause; empty = none
  const char* may;
};
inline Label healthy(const char* may = "") { return {"healthy", "", "", may}; }
inline Label undecided(const char* may = "") { return {"undecided", "", "", may}; }
inline Label sick(const char* causes, const char* leaf = "", const char* may = "") {
  return {"sick", causes, leaf, may};
}
/// Harmless, and yet to be named.
inline Label named(const char* causes, const char* may = "") { return {"healthy", causes, "", may}; }

/// Pages that blocks lie on or once lay on.
class Pages {
 public:
  void mark(const void* begin, std::size_t bytes) {
    const auto first = reinterpret_cast<std::uintptr_t>(begin) / kPage;
    const auto last = (reinterpret_cast<std::uintptr_t>(begin) + bytes - 1) / kPage;
    for (std::uintptr_t page = first; page <= last; page++)
      bits_of(page)[page % kOfRegion / 64] |= 1ull << page % 64;
  }
  std::uint64_t resident_bytes() const {
    PageTables tables;
    std::uint64_t sum = 0;
    for (int r = 0; r < regions_; r++)
      for (std::uintptr_t i = 0; i < kOfRegion; i++)
        if (region_[r].bits[i / 64] >> i % 64 & 1 && tables.in_memory(region_[r].number * kOfRegion + i))
          sum += kPage;
    return sum;
  }
  void clear() {
    for (int r = 0; r < regions_; r++) memset(region_[r].bits, 0, kOfRegion / 8);
  }

 private:
  static constexpr std::uintptr_t kOfRegion = 1 << 14;  // pages
  struct Region {
    std::uintptr_t number;
    std::uint64_t* bits;
  };
  std::uint64_t* bits_of(std::uintptr_t page) {
    const std::uintptr_t number = page / kOfRegion;
    if (last_ < regions_ && region_[last_].number == number) return region_[last_].bits;
    for (last_ = 0; last_ < regions_; last_++)
      if (region_[last_].number == number) return region_[last_].bits;
    if (regions_ == static_cast<int>(std::size(region_))) fail("too many regions");
    region_[regions_++] = {number, static_cast<std::uint64_t*>(map_memory(kOfRegion / 8))};
    return region_[last_].bits;
  }
  Region region_[512];
  int regions_ = 0, last_ = 0;
};

struct Block {
  void* at;
  std::uint32_t bytes;
};

/// Blocks with the program's own books of them.
class Pool {
 public:
  explicit Pool(std::size_t most) : blocks_(most) {}

  void add(Allocate site, std::size_t bytes) { blocks_.push(made(site, bytes)); }
  /// A new block takes the place of an old one, which goes.
  void replace(std::size_t i, Allocate site, std::size_t bytes) {
    const Block fresh = made(site, bytes);
    forget(blocks_[i]);
    blocks_[i] = fresh;
  }
  void drop(std::size_t i) {
    forget(blocks_[i]);
    blocks_[i] = blocks_[blocks_.size() - 1];
    blocks_.shorten_only(blocks_.size() - 1);
  }
  void clear() {
    while (blocks_.size() > 0) drop(blocks_.size() - 1);
  }
  void fill(Allocate site, std::size_t each, std::uint64_t until) {
    while (live_ < until) add(site, each);
  }
  void write_to_each() {
    for (const Block& b : blocks_) ++*static_cast<char*>(b.at);
  }
  void shrink(std::uint64_t until) {
    while (live_ > until) drop(blocks_.size() - 1);
  }
  /// Marks the pages that live blocks lie on.
  void mark(Pages& pages) {
    for (const Block& b : blocks_) pages.mark(b.at, b.bytes);
  }
  std::uint64_t live() const { return live_; }
  std::size_t size() const { return blocks_.size(); }
  static std::uint64_t all_live() { return all_; }
  static Pages& ever() { return ever_; }

 private:
  Block made(Allocate site, std::size_t bytes) {
    const Block b{site(bytes), static_cast<std::uint32_t>(bytes)};
    memset(b.at, 1, bytes);
    ever_.mark(b.at, bytes);
    live_ += bytes;
    all_ += bytes;
    return b;
  }
  void forget(const Block& b) {
    free(b.at);
    live_ -= b.bytes;
    all_ -= b.bytes;
  }

  List<Block> blocks_;
  std::uint64_t live_ = 0;
  static inline std::uint64_t all_ = 0;
  static inline Pages ever_;
};

/// Steps that are left, and the talk with the runner.
class Series {
 public:
  explicit Series(int steps) : steps_(steps) {}
  int steps() const { return steps_; }
  int step() const { return step_; }
  bool goes_on() const { return step_ < steps_; }

  void report(const Label& l, std::uint64_t live_bytes = Pool::all_live()) {
    printf("{\"pid\": %d, \"step\": %d, \"live_bytes\": %" PRIu64
           ", \"state\": \"%s\", \"causes\": \"%s\", \"leaf\": \"%s\", "
           "\"may\": \"%s\"}\n",
           getpid(), ++step_, live_bytes, l.state, l.causes, l.leaf, l.may);
    fflush(stdout);
    char c = 0;
    while (c != '\n')
      if (read(STDIN_FILENO, &c, 1) != 1) _exit(0);
  }

 private:
  int steps_, step_ = 0;
};

/// Below this a cause is too small to be asked for, and waste of this size may be named.
inline constexpr std::uint64_t kWorthNaming = 24 * kMega, kMayBeNamed = 12 * kMega;
inline constexpr const char* kWaste =
    "external_fragmentation joint_pinning retention thread_caches unfit_free arena_tops rounding";

/// Where a quarter of the heap's own pages is no live block, a report may say what that is.
inline const char* waste_that_may_be_named(std::uint64_t live = Pool::all_live()) {
  const std::uint64_t resident = Pool::ever().resident_bytes(), waste = resident > live ? resident - live : 0;
  return waste >= kMayBeNamed && waste >= resident / 4 ? kWaste : "";
}
inline Label steady() { return healthy(waste_that_may_be_named()); }

/// Growth can be told once it went on over four stretches of work, and is large enough. What keeps nearly all
/// that it allocates looks as if it were loading its data for two stretches more.
class Leak {
 public:
  static constexpr std::uint64_t kTold = 12 * kMega;
  static constexpr int kStretches = 4, kStretchesOfAll = 6;
  explicit Leak(const char* leaf, int stretches = kStretches, std::uint64_t told = kTold)
      : leaf_(leaf), least_(stretches), told_(told) {}
  void add(Allocate site, std::size_t bytes) {
    void* lost = site(bytes);
    memset(lost, 1, bytes);
    Pool::ever().mark(lost, bytes);
    grow(bytes);
  }
  void grow(std::uint64_t bytes) { lost_ += bytes; }
  std::uint64_t lost() const { return lost_; }
  /// \param also  causes that are true beside the leak
  Label label(const char* may = "", const char* also = "") {
    if (lost_ > counted_) stretches_ += first_known_;
    if (!first_known_) first_ = lost_;
    first_known_ = true;
    counted_ = lost_;
    if (stretches_ < least_ || lost_ - first_ < told_) {
      snprintf(text_, sizeof text_, "leak %s %s", may, also);
      return undecided(text_);
    }
    snprintf(text_, sizeof text_, "leak %s", also);
    return sick(text_, leaf_, may);
  }

 private:
  const char* leaf_;
  int least_;
  std::uint64_t told_, lost_ = 0, counted_ = 0, first_ = 0;
  int stretches_ = 0;
  bool first_known_ = false;
  char text_[256];
};

/// Short-lived blocks of mixed sizes: work that leaves nothing behind.
inline void pass_by(Allocate site, std::uint64_t bytes, Random& random) {
  Block recent[64] = {};
  for (std::uint64_t done = 0; done < bytes;) {
    Block& b = recent[random.below(64)];
    free(b.at);
    b.bytes = static_cast<std::uint32_t>(random.between(40, 4000));
    b.at = site(b.bytes);
    memset(b.at, 1, b.bytes);
    done += b.bytes;
  }
  for (const Block& b : recent) free(b.at);
}

/// One program of a family.
struct Shape {
  const char* name;
  const char* kind;  ///< healthy or sick: what it ends as
  int reports;
  void (*run)(Series&);
};

/// FAMILY list | FAMILY SHAPE [REPORTS]
template <std::size_t N>
int run_shape(const Shape (&shapes)[N], int count, char** words) {
  static char buffer[4096];
  setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
  if (count > 1 && strcmp(words[1], "list") == 0) {
    for (const Shape& s : shapes) printf("%s %s %d\n", s.name, s.kind, s.reports);
    return 0;
  }
  for (const Shape& s : shapes)
    if (count > 1 && strcmp(words[1], s.name) == 0) {
      Series series(static_cast<int>(argument(count, words, 2, static_cast<std::uint64_t>(s.reports))));
      s.run(series);
      return 0;
    }
  fputs("no such shape\n", stderr);
  return 2;
}

}  // namespace judgement
