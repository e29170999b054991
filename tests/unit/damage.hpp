// SPDX-License-Identifier: Apache-2.0
// What is found in a made-up process where one number of its memory is another one: a table of all that is tried, for
// a golden file. A condition that is off by one, or asked of another word, has another table.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "heaps/census.hpp"
#include "unit/made_up_process.hpp"

/// What a census tells, added up.
class CensusSums {
 public:
  mallard::heaps::CensusRequest request(const mallard::ProcessMemory& process,
                                        std::span<const mallard::AddressRange> heap,
                                        std::span<const mallard::AddressRange> resident) {
    return {.process = process,
            .heap = heap,
            .resident = resident,
            .sampled_blocks = {},
            .budget_bytes = ~std::uint64_t{0},
            .on_unit = [](const mallard::heaps::Unit& u, void* to) { static_cast<CensusSums*>(to)->add(u); },
            .opaque = this,
            .on_block = [](std::uintptr_t begin, std::uint64_t bytes, bool is_sure,
                           void* to) { static_cast<CensusSums*>(to)->add_block(begin, bytes, is_sure); },
            .on_cached = [](std::uintptr_t, void* to) { ++static_cast<CensusSums*>(to)->cached_; }};
  }
  std::string text(const mallard::heaps::CensusResult& r) const {
    using mallard::heaps::UnitKind;
    std::string to = r.done ? "" : std::string("not done: ") + r.why_not + "; ";
    for (const auto& [kind, sum] : by_kind_)
      add(&to, kind == UnitKind::kBlocks ? "units" : kind == UnitKind::kMetadata ? "books" : "not examined",
          {{"", sum.count}, {"bytes", sum.bytes}, {"live", sum.live}, {"overhead", sum.overhead},
           {"each", sum.block_bytes}, {"ownerless", sum.ownerless}});
    add(&to, "blocks", {{"sure", sure_}, {"bytes", sure_bytes_}, {"unsure", unsure_}, {"bytes", unsure_bytes_}, {"cached", cached_}});
    const mallard::heaps::FreeMemory& f = r.free_memory;
    add(&to, "free", {{"main top", f.main_top}, {"excess", f.top_excess}, {"in arenas", f.in_arenas},
                      {"large", f.large_free}, {"cached", f.cached}, {"cached pages", f.cached_pages},
                      {"kept", f.kept_pages}, {"uncollected", f.uncollected}});
    add(&to, "caches", {{"of threads", r.thread_cached_bytes}, {"internal", r.internal_bytes}});
    add(&to, "arenas", {{"", r.arenas}, {"threadless", r.threadless_arenas}, {"tops", r.arena_top_bytes}});
    add(&to, "raced", {{"", r.raced}});
    return to;
  }

 private:
  struct Sum {
    std::uint64_t count, bytes, live, overhead, block_bytes, ownerless;
  };
  void add(const mallard::heaps::Unit& u) {
    Sum& sum = by_kind_[u.kind];
    ++sum.count;
    sum.bytes += u.end - u.begin;
    sum.live += u.live_bytes;
    sum.overhead += u.overhead_bytes;
    sum.block_bytes += u.block_bytes;
    sum.ownerless += u.ownerless;
  }
  void add_block(std::uintptr_t, std::uint64_t bytes, bool is_sure) {
    ++(is_sure ? sure_ : unsure_);
    (is_sure ? sure_bytes_ : unsure_bytes_) += bytes;
  }
  /// What is 0 is left out.
  static void add(std::string* to, const char* what, std::initializer_list<std::pair<const char*, std::uint64_t>> numbers) {
    std::string words;
    for (const auto& [of, n] : numbers)
      if (n != 0) words += std::string(words.empty() ? " " : ", ") + (*of ? of + std::string(" ") : "") + std::to_string(n);
    if (!words.empty()) *to += what + words + "; ";
  }

  std::map<mallard::heaps::UnitKind, Sum> by_kind_;
  std::uint64_t sure_ = 0, sure_bytes_ = 0, unsure_ = 0, unsure_bytes_ = 0, cached_ = 0;
};

class Damage {
 public:
  /// \param look  what is found, in words
  Damage(MadeUpProcess& process, std::function<std::string()> look) : process_(process), look_(std::move(look)) {
    number_of(look_());
  }

  /// Tries other values of each two bytes, one after the other.
  void range(const char* name, std::uintptr_t begin, std::size_t bytes) {
    for (std::uintptr_t at = begin; at < begin + bytes; at += 2) {
      std::uint16_t now = 0;
      process_.get(at, &now);
      std::string line;
      const auto attempt = [&](const char* how, int value) {
        const auto other = static_cast<std::uint16_t>(value);
        if (other == now) return;
        process_.put(at, other);
        const std::size_t result = number_of(look_());
        process_.put(at, now);
        if (result != 0) line += std::string(" ") + how + ":" + std::to_string(result);
      };
      attempt("+1", now + 1);
      attempt("-1", now - 1);
      attempt("+2", now + 2);
      attempt("+8", now + 8);
      attempt("*2", now * 2);
      attempt("=0", 0);
      attempt("=-1", -1);
      if (!line.empty() && line == last_.changes && at == last_.end) last_.end = at + 2;
      else {
        finish_line();
        last_ = {name, line, begin, at, at + 2};
      }
    }
    finish_line();
  }

  /// What each change leads to, by number, and what the numbers stand for.
  std::string text() const {
    std::vector<std::string> results(numbers_.size());
    for (const auto& [result, number] : numbers_) results[number] = result;
    std::string to = lines_;
    for (std::size_t i = 0; i < results.size(); ++i) to += std::to_string(i) + ": " + results[i] + "\n";
    return to;
  }

 private:
  /// Neighbours with the same results have one line.
  void finish_line() {
    if (!last_.changes.empty())
      lines_ += last_.name + "+" + std::to_string(last_.at - last_.begin) +
                (last_.end > last_.at + 2 ? " to " + std::to_string(last_.end - last_.begin - 2) : "") + last_.changes + "\n";
    last_ = {};
  }
  std::size_t number_of(const std::string& result) { return numbers_.emplace(result, numbers_.size()).first->second; }

  MadeUpProcess& process_;
  std::function<std::string()> look_;
  std::map<std::string, std::size_t> numbers_;
  std::string lines_;
  struct {
    std::string name, changes;
    std::uintptr_t begin, at, end;
  } last_{};
};
