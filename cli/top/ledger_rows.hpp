// SPDX-License-Identifier: Apache-2.0
// What mallard top makes of one ledger after the other: a row for each cause, and how it has changed. Plain
// data in, plain data out.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mallard::cli {

struct LedgerReading {
  double at_seconds = 0;
  double resident = 0;  ///< bytes, as the ledger's lines are parts of it
  bool divided = false;
  std::string allocator;  ///< whose heap was divided
  struct Line {
    std::string_view cause;  ///< its name, of a report that lives as long as the reading is added
    double bytes;
  };
  std::vector<Line> lines;
};

struct CauseRow {
  std::string cause;  ///< as the report names it; kUnexplainedRow for what no line explains
  double bytes = 0, share = 0;         ///< share of what is resident
  double change = 0, last_change = 0;  ///< since the reading that changes are counted from; since the one before
};

/// The row of what is resident and in no line, or, below 0, in more than one.
inline constexpr const char* kUnexplainedRow = "unexplained";

class LedgerRows {
 public:
  void add(const LedgerReading& reading);
  /// Changes are counted from the next reading on.
  void forget_changes() { has_base_ = has_last_ = false; }

  bool has_reading() const { return has_last_ || !rows_.empty(); }
  bool has_last_change() const { return has_last_change_; }
  double resident() const { return resident_; }
  double change() const { return change_; }  ///< of all that is resident
  double change_seconds() const { return at_ - base_at_; }
  /// The largest first, or what has grown most.
  const std::vector<CauseRow>& sort(bool by_change);

 private:
  struct Bytes {
    std::string cause;
    double base, last;
  };
  Bytes& of(const std::string& cause);

  std::vector<Bytes> known_;
  std::vector<CauseRow> rows_;
  bool has_base_ = false, has_last_ = false, has_last_change_ = false, divided_ = false;
  std::string allocator_;
  double at_ = 0, base_at_ = 0, resident_ = 0, base_resident_ = 0, change_ = 0;
};

}  // namespace mallard::cli
