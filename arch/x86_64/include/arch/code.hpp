// SPDX-License-Identifier: Apache-2.0
// Instructions as bytes: how jumps are written into code, and what is recognised in code that others wrote. A
// port provides every name below; whoever writes has made the code writable, and looks after caches where
// the machine does not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace mallard::arch {

/// A direct jump, as it stands over the first bytes of a function: reaches 2 GiB.
inline constexpr std::size_t kJumpBytes = 5;
/// Functions begin at multiples of this; the linker fills the gap before.
inline constexpr std::uint64_t kCodeAlignment = 16;

namespace bytes {
inline constexpr unsigned char kJump = 0xe9, kCall = 0xe8, kNop = 0x90, kIndirectJump = 0x25;
inline constexpr unsigned char kEndbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};

inline std::int64_t distance_at(const unsigned char* code) noexcept {
  std::int32_t distance;
  std::memcpy(&distance, code, sizeof distance);
  return distance;
}

inline bool write_branch(unsigned char* at, unsigned char opcode, std::uintptr_t runs_at,
                         std::uintptr_t target) noexcept {
  const auto distance = static_cast<std::int64_t>(target - (runs_at + kJumpBytes));
  if (distance != static_cast<std::int32_t>(distance)) return false;
  const auto relative = static_cast<std::int32_t>(distance);
  at[0] = opcode;
  std::memcpy(at + 1, &relative, sizeof relative);
  return true;
}
}  // namespace bytes

// ---- writing

/// Writes a direct jump that will run at `runs_at`. \return false if the target is out of its reach
inline bool write_jump(unsigned char* at, std::uintptr_t runs_at, std::uintptr_t target) noexcept {
  return bytes::write_branch(at, bytes::kJump, runs_at, target);
}

/// Makes a `jump_to_backend` or `call_backend` of hot_exports.S direct: `jmp *slot(%rip)` (ff 25) or
/// `call *slot(%rip)` (ff 15), 6 bytes each, become the direct form and a nop.
/// \return false if the target is out of reach
inline bool make_direct(unsigned char* at, std::uintptr_t runs_at, std::uintptr_t target) noexcept {
  const unsigned char opcode = at[1] == bytes::kIndirectJump ? bytes::kJump : bytes::kCall;
  if (!bytes::write_branch(at, opcode, runs_at, target)) return false;
  at[kJumpBytes] = bytes::kNop;
  return true;
}

/// Makes the first two instructions of a `count` of hot_exports.S one, as the offset of initial-exec TLS from
/// the thread pointer is the same in all threads: `movq offset@GOT(%rip), %rdx; subq %rax, %fs:(%rdx)`, 11
/// bytes, become `subq %rax, %fs:offset` with two superfluous prefixes.
/// \param offset  of the countdown from the thread pointer
inline void make_countdown_direct(unsigned char* at, std::int64_t offset) noexcept {
  const auto short_offset = static_cast<std::int32_t>(offset);
  if (offset != short_offset) return;  // as compiled, it is right, too
  constexpr unsigned char kSubtract[] = {0x64, 0x64, 0x64, 0x48, 0x29, 0x04, 0x25};
  std::memcpy(at, kSubtract, sizeof kSubtract);
  std::memcpy(at + sizeof kSubtract, &short_offset, sizeof short_offset);
}

/// Writes a jump to anywhere, 14 bytes.
inline void write_far_jump(unsigned char* at, const void* target) noexcept {
  constexpr unsigned char kJumpToNext[] = {0xff, 0x25, 0, 0, 0, 0};  // jmp *(%rip); the address follows
  std::memcpy(at, kJumpToNext, sizeof kJumpToNext);
  std::memcpy(at + sizeof kJumpToNext, &target, sizeof target);
}

/// Room for what write_stub() writes.
inline constexpr std::size_t kStubBytes = 32;
/// Writes a jump to anywhere. \param drops_first  the first of up to five arguments goes away before
inline void write_stub(unsigned char* at, const void* target, bool drops_first) noexcept {
  // Moves: mov rdi, rsi; mov rsi, rdx; mov rdx, rcx; mov rcx, r8.
  constexpr unsigned char kDropFirst[] = {0x48, 0x89, 0xf7, 0x48, 0x89, 0xd6,
                                          0x48, 0x89, 0xca, 0x4c, 0x89, 0xc1};
  if (drops_first) {
    std::memcpy(at, kDropFirst, sizeof kDropFirst);
    at += sizeof kDropFirst;
  }
  write_far_jump(at, target);
}

/// Writes a jump to anywhere that first puts an address where a watcher of watched_calls.S expects it. Takes
/// kStubBytes.
inline void write_watch_stub(unsigned char* at, const void* target, const void* observed) noexcept {
  constexpr unsigned char kLoad[] = {0x49, 0xbb};  // movabs $observed, %r11
  std::memcpy(at, kLoad, sizeof kLoad);
  std::memcpy(at + sizeof kLoad, &observed, sizeof observed);
  write_far_jump(at + sizeof kLoad + sizeof observed, target);
}

// ---- recognising

/// \return where the code at `address` leads: a direct jump's target, or `address` itself
inline std::uintptr_t behind_jump(const unsigned char* code, std::uintptr_t address) noexcept {
  if (code[0] != bytes::kJump) return address;
  return address + kJumpBytes + static_cast<std::uint64_t>(bytes::distance_at(code + 1));
}

inline constexpr std::size_t kLongestLandingPad = sizeof bytes::kEndbr64;
/// How many bytes the landing pad takes at the beginning of a function; a jump can be written behind it.
/// \return 0 where there is none
inline std::size_t landing_pad_bytes(const void* code, std::size_t length) noexcept {
  const bool is_there =
      length >= kLongestLandingPad && std::memcmp(code, bytes::kEndbr64, kLongestLandingPad) == 0;
  return is_there ? kLongestLandingPad : 0;
}

/// Whether a gap behind a function that begins with this byte was filled by an assembler or a linker: nop in
/// its forms, int3, zeros.
inline bool begins_filler(unsigned char byte) noexcept {
  return std::memchr("\x90\xcc\x66\x0f\x2e", byte, 6) != nullptr;
}

/// Recognises a direct call or an unconditional jump. \param code  at least kJumpBytes of it
/// \return false if it is neither
inline bool branch_at(const unsigned char* code, std::uint64_t address, std::uint64_t* target) noexcept {
  if ((code[0] & 0xfe) != bytes::kCall) return false;
  *target = address + kJumpBytes + static_cast<std::uint64_t>(bytes::distance_at(code + 1));
  return true;
}

/// Recognises a jump whose distance is one byte, with a condition or without. \param code  at least two bytes of it
inline bool short_jump_at(const unsigned char* code, std::uint64_t address, std::uint64_t* target) noexcept {
  if (code[0] != 0xeb && (code[0] & 0xf0) != 0x70) return false;
  *target = address + 2 + static_cast<std::uint64_t>(static_cast<std::int64_t>(static_cast<signed char>(code[1])));
  return true;
}

/// Something in code that names an address: a call, a jump, a load of the address itself.
struct Reference {
  std::uint64_t target;
  bool is_address;  ///< the address is taken, nothing jumps there now
};
inline constexpr std::size_t kLongestReference = 7;
/// \param code  at least kLongestReference bytes of it, which may begin within an instruction
inline bool reference_at(const unsigned char* code, std::uint64_t address, Reference* found) noexcept {
  std::size_t prefix;
  if ((code[0] & 0xfe) == bytes::kCall) prefix = 1;                   // call, jmp
  else if (code[0] == 0x0f && (code[1] & 0xf0) == 0x80) prefix = 2;  // jcc
  else if ((code[0] & 0xfb) == 0x48 && code[1] == 0x8d && (code[2] & 0xc7) == 0x05) prefix = 3;  // lea
  else return false;
  *found = {address + prefix + 4 + static_cast<std::uint64_t>(bytes::distance_at(code + prefix)), prefix == 3};
  return true;
}

/// Recognises a function that does nothing but return a number.
/// \param code  behind its landing pad \return false: it does something else
inline bool returned_constant(const unsigned char* code, std::size_t length, std::uint32_t* number) noexcept {
  if (length < 6 || code[0] != 0xb8 || code[5] != 0xc3) return false;  // mov $number, %eax; ret
  *number = static_cast<std::uint32_t>(bytes::distance_at(code + 1));
  return true;
}

}  // namespace mallard::arch
