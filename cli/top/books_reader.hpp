// SPDX-License-Identifier: Apache-2.0
// One reading of a process's books, as mallard top needs them, and where it comes from: the process's memory.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/options.hpp"
#include "record/published.hpp"
#include "cli/process/memory_file.hpp"

namespace mallard::cli {

/// An estimate and its variance.
struct Sum {
  double value = 0, variance = 0;
  void add(double weight, double size) {
    value += weight * size;
    variance += weight * (weight - 1) * size * size;
  }
  void add(const Sum& other) {
    value += other.value;
    variance += other.variance;
  }
};

struct SiteBooks {
  Sum live_bytes, allocated_bytes;
  double live_count = 0, allocated_count = 0;
  /// Part of live_bytes: blocks that were allocated before the time that read() was given.
  Sum old_bytes;
};

struct Books {
  Mode mode = Mode::kSample;
  double sample_bytes = 0;      ///< 0 = nothing is recorded
  std::uint64_t newest_ns = 0;  ///< birth of the newest live sample
  std::uint64_t live_samples = 0;
  std::uint64_t torn = 0;  ///< samples left out, because they changed while they were copied
  /// Not 0: figures are the counts of exact mode, with no variance; another one: these began anew.
  std::uint32_t exact_epoch = 0;
  std::uint64_t unsure_counts = 0;  ///< see ExactCounts
  std::vector<SiteBooks> sites;     ///< by site id
};

class RemoteBooks {
 public:
  /// \throws Error if the memory may not be read, or the library in it is of another build
  explicit RemoteBooks(int pid);

  /// \param old_ns  blocks born until then count as old \return false if the process is gone or was replaced
  bool read(std::uint64_t old_ns, Books* out);
  /// Return addresses of a site, leaf first.
  std::vector<std::uint64_t> stack(std::uint32_t site) const;

 private:
  bool is_sound() const;
  bool read_rows(const Published::Rows& rows, std::uint32_t count, std::vector<char>* out) const;
  bool read_live(std::vector<char>* rows) const;
  void add_live(const std::vector<char>& rows, std::uint64_t old_ns, Books* out) const;
  bool read_exact(Books* out) const;

  MemoryFile memory_;
  std::uint64_t at_;  ///< where the books are published
  Published published_;
};

}  // namespace mallard::cli
