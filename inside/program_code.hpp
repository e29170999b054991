// SPDX-License-Identifier: Apache-2.0
// The code of the running executable, before any of it has run: whether it is what the plan was made of, and how
// it is changed.
#pragma once

#include <cstdint>
#include <string_view>

#include "inside/plan.hpp"

namespace mallard::inside {

class ProgramCode {
 public:
  explicit ProgramCode(TakeoverPlan& plan) noexcept : plan_(plan) {}

  /// Whether the entries can be changed now. \return false, with the reason in the plan
  bool is_as_planned() noexcept;

  /// Where an address of the file is in memory.
  unsigned char* at(std::uint64_t address) const noexcept;
  /// All that will be changed lies in here; once is_as_planned().
  std::uintptr_t lowest() const noexcept { return lowest_; }
  std::uintptr_t highest() const noexcept { return highest_; }

  /// Makes everything writable before anything is written. \return false, with the reason in the plan
  bool open() noexcept;
  /// Writes the jump over the beginning of an entry. \param to  within its reach
  void write_jump(const TakeoverEntry& entry, std::uintptr_t to) noexcept;
  /// Has a branch of the allocator lead elsewhere. \param to  within its reach
  void lead(const InnerBranch& branch, std::uintptr_t to) noexcept;
  void close() noexcept;

  /// Writes a reason into the plan. \return false
  bool refuse(std::string_view why, std::string_view next = {}) noexcept;
  /// The system denies that code is made or changed. \return false
  bool refuse_denied(std::string_view what) noexcept;

 private:
  struct Piece {
    std::uint64_t address;
    std::size_t bytes;
    const unsigned char* planned;
  };
  std::size_t count() const noexcept { return plan_.count + plan_.inner_count; }
  Piece piece(std::size_t number) const noexcept;
  bool protect(std::size_t number, int protection) noexcept;

  TakeoverPlan& plan_;
  std::uintptr_t lowest_ = 0, highest_ = 0;
};

/// Memory for code near the program; the kernel's answer decides whether it stays.
class NewCode {
 public:
  /// \return false, with the reason in the plan
  bool map(ProgramCode& program, std::size_t bytes) noexcept;
  bool close(ProgramCode& program) noexcept;
  void drop() noexcept;
  unsigned char* at(std::size_t offset) const noexcept { return begin_ + offset; }

 private:
  unsigned char* begin_ = nullptr;
  std::size_t bytes_ = 0;
};

/// Puts a plan into force, wholly or not at all.
/// \param write  fills the new code; says why and returns false where it cannot
/// \param lead   has the program's code lead there
template <typename Write, typename Lead>
bool change(ProgramCode& program, NewCode& code, std::size_t bytes, Write write, Lead lead) noexcept {
  if (!program.is_as_planned() || !code.map(program, bytes)) return false;
  if (!write() || !code.close(program) || !program.open()) {
    code.drop();
    return false;
  }
  lead();
  program.close();
  return true;
}

}  // namespace mallard::inside
