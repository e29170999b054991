// SPDX-License-Identifier: Apache-2.0
// DWARF 5, section 6.4.2, as far as compilers use it; opcodes by their numbers there.
#include "unwind/cfi.hpp"

#include "arch/frames.hpp"
#include "unwind/unwind_table.hpp"

namespace mallard::unwind {
namespace {

using arch::kRegisters;
constexpr std::uint32_t kFrame = arch::kFrameRegister, kSp = arch::kStackRegister;
constexpr std::uint8_t kOpDeref = 0x06, kOpRegisterPlus = 0x70;  // the latter for each of 32 registers
constexpr std::uint8_t kOpFramePlus = kOpRegisterPlus + kFrame, kOpSpPlus = kOpRegisterPlus + kSp;

enum Instruction : std::uint8_t {
  kNop = 0x00,
  kAdvance1 = 0x02,
  kAdvance2 = 0x03,
  kAdvance4 = 0x04,
  kOffsetExtended = 0x05,
  kRestoreExtended = 0x06,
  kUndefined = 0x07,
  kSameValue = 0x08,
  kRememberState = 0x0a,
  kRestoreState = 0x0b,
  kDefCfa = 0x0c,
  kDefCfaRegister = 0x0d,
  kDefCfaOffset = 0x0e,
  kDefCfaExpression = 0x0f,
  kExpression = 0x10,
  kValExpression = 0x16,
  kGnuArgsSize = 0x2e,
  kAdvance = 0x40,  // these three hold an operand as well
  kOffset = 0x80,
  kRestore = 0xc0,
};
constexpr std::uint8_t kOperand = 0x3f;

/// Where a register of the caller is: still in the register, nowhere, or in memory at an offset.
struct Saved {
  enum Where : std::uint8_t { kSame, kUndefined, kFromCfa, kFromSp, kFromFrame, kOdd };
  Where where = kSame;
  std::int32_t offset = 0;
};

/// The CFA is a register plus an offset, or an expression; instructions that change the register or the
/// offset alone leave the other as it was, expressions or not.
struct Cfa {
  enum Kind : std::uint8_t { kUnset, kRegister, kSpPlus, kFrameSlot, kOdd };
  Kind kind = kUnset;
  std::uint32_t reg = 0;
  std::int32_t offset = 0, in_expression = 0;
};

/// What holds for a range of code.
struct Row {
  Cfa cfa;
  Saved frame, pc;
  std::uint32_t odd = 0;  ///< bit per other register: whether finding it takes what we do not know
};

/// Where a register was saved, if its expression is a register plus an offset.
Saved saved_by(Bytes expression) noexcept {
  const std::uint8_t op = expression.byte();
  const std::int32_t offset = expression.sleb();
  if (!expression.ok() || expression.more() || (op != kOpFramePlus && op != kOpSpPlus)) return {Saved::kOdd};
  return {op == kOpFramePlus ? Saved::kFromFrame : Saved::kFromSp, offset};
}

/// The two expressions that are met: a slot of the frame, in functions that realign their stack; and the
/// linker's for a PLT, whose entries push a word before their last instruction.
void set_cfa_by(Bytes expression, std::uintptr_t code, Cfa* cfa) noexcept {
  const std::uint8_t op = expression.byte();
  cfa->in_expression = expression.sleb();
  cfa->kind = Cfa::kOdd;
  if (op == kOpFramePlus) {
    if (expression.byte() == kOpDeref && expression.ok() && !expression.more()) cfa->kind = Cfa::kFrameSlot;
  } else if (op == kOpSpPlus) {
    std::uint8_t literal = 0;
    bool same = true;
    for (std::size_t i = 0; i < sizeof arch::kPltExpression; ++i) {
      const std::uint8_t b = expression.byte();
      if (i == arch::kPltLiteralAt) literal = b;
      else same = same && b == arch::kPltExpression[i];
    }
    if (!same || !expression.ok() || expression.more() || literal < 0x30 || literal > 0x4f) return;
    cfa->kind = Cfa::kSpPlus;
    cfa->in_expression += arch::plt_pushed_bytes(code, literal);
  }
}

/// Runs the instructions of a function up to the row that holds one address.
class Rows {
 public:
  explicit Rows(std::uintptr_t code) noexcept : code_(code) {}

  /// \return false if one of them is none of ours
  bool run(const UnwindInfo& info) noexcept {
    // The common ones hold for every row: there is no address among them.
    if (run(info.common, 0) != 0 || kept_rows_ != 0 || unknown_) return false;
    initial_ = row_;
    run(info.own, info.start);
    return !unknown_;
  }

  bool rule(Rule* out) const noexcept;

 private:
  /// \param location  from where on the first row holds \return where the last row begins
  std::uintptr_t run(Bytes program, std::uintptr_t location) noexcept {
    while (location <= code_ && program.more()) {
      const std::uint8_t op = program.byte();
      std::uint32_t reg;
      if (op >= kAdvance) {
        if (op < kOffset) location += op & kOperand;
        else if (op < kRestore) save_near_cfa(op & kOperand, &program);
        else restore(op & kOperand);
        continue;
      }
      switch (op) {
        case kNop:
          break;
        case kAdvance1:
          location += program.byte();
          break;
        case kAdvance2:
          location += program.take<std::uint16_t>();
          break;
        case kAdvance4:
          location += program.take<std::uint32_t>();
          break;
        case kOffsetExtended:
          save_near_cfa(program.uleb(), &program);
          break;
        case kRestoreExtended:
          restore(program.uleb());
          break;
        case kUndefined:
          save(program.uleb(), {Saved::kUndefined});
          break;
        case kSameValue:
          save(program.uleb(), {Saved::kSame});
          break;
        case kRememberState:
          keep_row();
          break;
        case kRestoreState:
          take_row();
          break;
        case kDefCfa:
          set_cfa_register(program.uleb());
          set_cfa_offset(program.uleb());
          break;
        case kDefCfaRegister:
          set_cfa_register(program.uleb());
          break;
        case kDefCfaOffset:
          set_cfa_offset(program.uleb());
          break;
        case kDefCfaExpression:
          set_cfa_by(program.part(program.uleb()), code_, &row_.cfa);
          break;
        case kExpression:
          reg = program.uleb();
          save(reg, saved_by(program.part(program.uleb())));
          break;
        case kValExpression:
          reg = program.uleb();
          program.part(program.uleb());
          save(reg, {Saved::kOdd});
          break;
        case kGnuArgsSize:
          program.uleb();
          break;
        default:
          unknown_ = true;
          return location;
      }
    }
    unknown_ |= !program.ok();
    return location;
  }

  void set_cfa_offset(std::uint32_t offset) noexcept { row_.cfa.offset = static_cast<std::int32_t>(offset); }
  void set_cfa_register(std::uint32_t reg) noexcept {
    row_.cfa.kind = Cfa::kRegister;
    row_.cfa.reg = reg;
    unknown_ |= reg >= kRegisters;
  }
  void save(std::uint32_t reg, Saved where) noexcept {
    if (reg == kFrame) row_.frame = where;
    else if (reg == arch::kReturnRegister) row_.pc = where;
    else if (reg >= kRegisters) unknown_ = true;
    else row_.odd = (row_.odd & ~(1u << reg)) | static_cast<std::uint32_t>(where.where == Saved::kOdd) << reg;
  }
  void save_near_cfa(std::uint32_t reg, Bytes* program) noexcept {
    save(reg, {Saved::kFromCfa, arch::kDataAlignment * static_cast<std::int32_t>(program->uleb())});
  }
  void restore(std::uint32_t reg) noexcept {
    if (reg == kFrame) row_.frame = initial_.frame;
    else if (reg == arch::kReturnRegister) row_.pc = initial_.pc;
    else if (reg >= kRegisters) unknown_ = true;
    else row_.odd = (row_.odd & ~(1u << reg)) | (initial_.odd & 1u << reg);
  }
  void keep_row() noexcept {
    if (kept_rows_ == kKeptRows) unknown_ = true;
    else kept_[kept_rows_++] = row_;
  }
  void take_row() noexcept {
    if (kept_rows_ == 0) unknown_ = true;
    else row_ = kept_[--kept_rows_];
  }

  static constexpr int kKeptRows = 4;  // compilers nest one deep

  const std::uintptr_t code_;
  Row row_, initial_;
  Row kept_[kKeptRows];
  int kept_rows_ = 0;
  bool unknown_ = false;  ///< an instruction, a register or a depth that is none of ours was met
};

bool Rows::rule(Rule* out) const noexcept {
  const Cfa& cfa = row_.cfa;
  Rule rule;
  rule.cfa_offset = cfa.kind == Cfa::kRegister ? cfa.offset : cfa.in_expression;
  if (cfa.kind == Cfa::kSpPlus || (cfa.kind == Cfa::kRegister && cfa.reg == kSp)) {
    rule.kind = RuleKind::kFromSp;
  } else if (cfa.kind == Cfa::kRegister && cfa.reg == kFrame) {
    rule.kind = RuleKind::kFromFrame;
  } else if (cfa.kind == Cfa::kFrameSlot) {
    rule.kind = RuleKind::kFromFrameSlot;
  } else {
    return false;
  }
  if (row_.odd || row_.frame.where == Saved::kOdd || row_.frame.where == Saved::kUndefined) return false;
  if (row_.pc.where == Saved::kUndefined) {
    *out = {RuleKind::kEnd};
    return true;
  }
  if (row_.pc.where != Saved::kFromCfa || row_.pc.offset != arch::kReturnOffset) return false;

  rule.saves_frame = row_.frame.where != Saved::kSame;
  rule.frame_offset = row_.frame.offset;
  if (rule.saves_frame) {
    // Offsets are from the CFA, or from the frame pointer if that is all that is known.
    const Saved::Where same_base = rule.kind == RuleKind::kFromSp      ? Saved::kFromSp
                                   : rule.kind == RuleKind::kFromFrame ? Saved::kFromFrame
                                                                       : Saved::kOdd;
    const Saved::Where plain = rule.kind == RuleKind::kFromFrameSlot ? Saved::kFromFrame : Saved::kFromCfa;
    if (row_.frame.where == same_base) rule.frame_offset -= rule.cfa_offset;
    else if (row_.frame.where != plain) return false;
  }
  *out = rule;
  return true;
}

}  // namespace

bool rule_from_cfi(std::uintptr_t code, std::uintptr_t table, const Segment& memory, Rule* out) noexcept {
  UnwindInfo info;
  const Found found = find_unwind_info(code, table, memory, &info);
  if (found == Found::kNone) *out = {RuleKind::kNoInfo};
  if (found != Found::kYes) return found == Found::kNone;
  Rows rows(code);
  return rows.run(info) && rows.rule(out);
}

}  // namespace mallard::unwind
