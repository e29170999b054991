// SPDX-License-Identifier: Apache-2.0
#include "arch/instructions.hpp"

#ifdef MALLARD_HAVE_ZYDIS
#include <Zydis/Decoder.h>

#include <cstring>

namespace mallard::arch {
namespace {

constexpr unsigned char kNearJump = 0xe9, kShortJump = 0xeb, kNearCall = 0xe8;
constexpr std::size_t kWideConditionBytes = 6;

bool is_condition(const unsigned char* code) noexcept { return (code[0] & 0xf0) == 0x70; }

bool is_wide_condition(const unsigned char* code) noexcept {
  return code[0] == 0x0f && (code[1] & 0xf0) == 0x80;
}

/// True of the forms that Writer has; others (loop, jrcxz, with prefixes) stand at no beginning of a function.
bool is_plain_branch(const unsigned char* code) noexcept {
  return code[0] == kNearJump || code[0] == kShortJump || code[0] == kNearCall || is_condition(code) ||
         is_wide_condition(code);
}

/// True of jmp, ret and their kin, and of what never returns.
bool ends_here(const ZydisDecodedInstruction& i) noexcept {
  const unsigned group = i.raw.modrm.reg;
  if (i.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT)
    return i.opcode == kNearJump || i.opcode == kShortJump || (i.opcode & 0xfe) == 0xc2 || i.opcode == 0xcc ||
           i.opcode == 0xf4 || (i.opcode == 0xff && (group == 4 || group == 5));
  return i.opcode_map == ZYDIS_OPCODE_MAP_0F && i.opcode == 0x0b;
}

/// A pointer of which nothing is known but where it stands: not one among others, by an index.
bool is_by_one_pointer(const ZydisDecodedInstruction& i) noexcept {
  constexpr unsigned kWithIndex = 4, kNoIndex = 4, kRegister = 3;
  const bool has_index = i.raw.modrm.mod != kRegister && i.raw.modrm.rm == kWithIndex &&
                         (i.raw.sib.index != kNoIndex || i.raw.rex.X != 0);
  return !has_index;
}

bool is_at_distance(const ZydisDecodedInstruction& i) noexcept { return i.raw.modrm.mod == 0 && i.raw.modrm.rm == 5; }

/// The opcode of calls and jumps by pointers: which of them, a part of the next byte says.
enum class ByPointer : unsigned { kCall = 2, kJump = 4 };
bool is_by_pointer(const ZydisDecodedInstruction& i, ByPointer what) noexcept {
  return i.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && i.opcode == 0xff &&
         i.raw.modrm.reg == static_cast<unsigned>(what);
}

}  // namespace

bool can_decode() noexcept { return true; }

bool decode(const unsigned char* code, std::size_t bytes, std::uint64_t address, Instruction* out) noexcept {
  ZydisDecoder decoder;
  ZydisDecodedInstruction i;
  if (!ZYAN_SUCCESS(ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)) ||
      !ZYAN_SUCCESS(ZydisDecoderEnableMode(&decoder, ZYDIS_DECODER_MODE_MINIMAL, ZYAN_TRUE)) ||
      !ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, nullptr, code, bytes, &i)))
    return false;
  *out = {};
  out->bytes = i.length;
  out->ends = ends_here(i);
  const bool jumps = is_by_pointer(i, ByPointer::kJump);
  out->calls_by_pointer = is_by_pointer(i, ByPointer::kCall) || (jumps && is_at_distance(i));
  out->jumps_by_pointer = jumps && !is_at_distance(i) && is_by_one_pointer(i);
  if (i.raw.imm[0].is_relative) {
    out->is_branch = true;
    out->is_call = i.opcode == kNearCall && i.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT;
    out->distance_at = i.raw.imm[0].offset;
    out->distance_bytes = static_cast<std::uint8_t>(i.raw.imm[0].size / 8);
    out->target = address + i.length + static_cast<std::uint64_t>(i.raw.imm[0].value.s);
  } else if ((i.attributes & ZYDIS_ATTRIB_HAS_MODRM) && i.raw.modrm.mod == 0 && i.raw.modrm.rm == 5) {
    out->address_at = i.raw.disp.offset;
    out->target = address + i.length + static_cast<std::uint64_t>(i.raw.disp.value);
  }
  return true;
}

std::size_t displaced_bytes(const unsigned char* code, std::size_t bytes, std::uint64_t address,
                            const char** why) noexcept {
  std::size_t at = 0;
  std::uint64_t targets[kJumpBytes];
  std::size_t branches = 0;
  for (bool ends = false; at < kJumpBytes && !ends;) {
    Instruction i;
    if (!decode(code + at, bytes - at, address + at, &i)) {
      *why = "they are no instructions that are known";
      return 0;
    }
    if (i.is_branch) {
      if (!is_plain_branch(code + at)) {
        *why = "a branch of a rare form is among them";
        return 0;
      }
      targets[branches++] = i.target;
    }
    at += i.bytes;
    ends = i.ends;
  }
  const std::size_t whole = at < kJumpBytes ? kJumpBytes : at;
  for (std::size_t b = 0; b < branches; ++b)
    if (targets[b] > address && targets[b] < address + whole) {
      *why = "one of them jumps to another";
      return 0;
    }
  return whole;
}

namespace {

class Writer {
 public:
  Writer(unsigned char* to, std::uint64_t runs_at) noexcept : to_(to), runs_at_(runs_at) {}

  void copy(const unsigned char* code, std::size_t bytes) noexcept {
    std::memcpy(to_ + size_, code, bytes);
    size_ += bytes;
  }
  /// The bytes before `distance_at`, a distance to `target`, and what comes behind it.
  bool with_distance(const unsigned char* code, std::size_t bytes, std::size_t distance_at,
                     std::uint64_t target) noexcept {
    const auto distance = static_cast<std::int64_t>(target - (runs_at_ + size_ + bytes));
    const auto narrow = static_cast<std::int32_t>(distance);
    if (narrow != distance) return false;
    copy(code, bytes);
    std::memcpy(to_ + size_ - bytes + distance_at, &narrow, sizeof narrow);
    return true;
  }
  bool jump(std::uint64_t target) noexcept {
    constexpr unsigned char kForm[kJumpBytes] = {kNearJump};
    return with_distance(kForm, sizeof kForm, 1, target);
  }
  bool jump_if(unsigned char condition, std::uint64_t target) noexcept {
    const unsigned char form[kWideConditionBytes] = {0x0f, static_cast<unsigned char>(0x80 | condition)};
    return with_distance(form, sizeof form, 2, target);
  }
  /// A call that returns to `back`, where unwinders know what they see: the address is put on the stack.
  bool call(std::uint64_t target, std::uint64_t back) noexcept {
    constexpr unsigned char kRoom[] = {0x48, 0x8d, 0x64, 0x24, 0xf8};     // lea -8(%rsp), %rsp: keeps the flags
    constexpr unsigned char kLow[] = {0xc7, 0x04, 0x24}, kHigh[] = {0xc7, 0x44, 0x24, 0x04};  // movl $, (%rsp)
    unsigned char halves[sizeof back];
    std::memcpy(halves, &back, sizeof back);
    copy(kRoom, sizeof kRoom);
    copy(kLow, sizeof kLow);
    copy(halves, 4);
    copy(kHigh, sizeof kHigh);
    copy(halves + 4, 4);
    return jump(target);
  }

 private:
  unsigned char* to_;
  std::uint64_t runs_at_;
  std::size_t size_ = 0;
};

bool write_branch(Writer& to, const unsigned char* code, const Instruction& i, std::uint64_t target,
                  std::uint64_t back) noexcept {
  if (i.is_call) return to.call(target, back);
  if (code[0] == kShortJump || code[0] == kNearJump) return to.jump(target);
  return to.jump_if((is_condition(code) ? code[0] : code[1]) & 0x0f, target);
}

}  // namespace

bool write_displaced(const unsigned char* code, std::size_t bytes, std::uint64_t address, unsigned char* to,
                     std::uint64_t runs_at, Redirected redirected, const void* opaque) noexcept {
  Writer writer(to, runs_at);
  std::size_t at = 0;
  bool ends = false;
  while (at < bytes && !ends) {
    Instruction i;
    if (!decode(code + at, bytes - at, address + at, &i)) return false;
    const std::uint64_t back = address + at + i.bytes;
    const bool is_written =
        i.is_branch    ? write_branch(writer, code + at, i, redirected(i.target, opaque), back)
        : i.address_at ? writer.with_distance(code + at, i.bytes, i.address_at, i.target)
                       : (writer.copy(code + at, i.bytes), true);
    if (!is_written) return false;
    at += i.bytes;
    // What returns to the function itself needs no way there.
    ends = i.ends || i.is_call;
  }
  return ends || writer.jump(address + at);
}

}  // namespace mallard::arch

#else

namespace mallard::arch {

bool can_decode() noexcept { return false; }
bool decode(const unsigned char*, std::size_t, std::uint64_t, Instruction*) noexcept { return false; }
std::size_t displaced_bytes(const unsigned char*, std::size_t, std::uint64_t, const char** why) noexcept {
  *why = "this build has no disassembler";
  return 0;
}
bool write_displaced(const unsigned char*, std::size_t, std::uint64_t, unsigned char*, std::uint64_t, Redirected,
                     const void*) noexcept {
  return false;
}

}  // namespace mallard::arch

#endif
