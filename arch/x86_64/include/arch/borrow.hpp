// SPDX-License-Identifier: Apache-2.0
// A stopped thread of another process that is to call a function: its registers before and meanwhile, and a
// frame on its stack through which it finds back by itself if nobody puts its registers back. A port builds the
// frame that its kernel's rt_sigreturn reads.
#pragma once

#include <elf.h>
#include <errno.h>
#include <linux/audit.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <ucontext.h>

#include <cstdint>
#include <cstring>
#include <span>

#include "arch/frames.hpp"
#include "arch/registers.hpp"

namespace mallard::arch {

inline std::uintptr_t code_address(const GeneralRegisters& r) noexcept { return r.rip; }
inline std::uintptr_t thread_pointer_of(const GeneralRegisters& r) noexcept { return r.fs_base; }
/// What a function has returned, or a system call at its end.
inline std::int64_t result_of(const GeneralRegisters& r) noexcept { return static_cast<std::int64_t>(r.rax); }

/// A line of /proc/PID/status, and the word in it for return addresses that the processor keeps beside the stack.
inline constexpr const char *kThreadFeatures = "x86_Thread_features", *kShadowStack = "shstk";

/// How a seccomp filter sees a call of this architecture.
inline constexpr std::uint32_t kAuditArchitecture = AUDIT_ARCH_X86_64;

/// A system call that the thread was stopped in or at.
struct StoppedCall {
  long number = -1;  ///< -1: in none
  std::uint64_t arguments[6] = {};
};
inline StoppedCall stopped_call(const GeneralRegisters& r) noexcept {
  return {static_cast<long>(r.orig_rax), {r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9}};
}

/// How the kernel ends a call that a stop interrupted: these begin again, with what is left of their time.
inline constexpr std::int64_t kRestartSys = -512, kRestartNoIntr = -513, kRestartNoHand = -514,
                              kRestartBlock = -516;
inline bool begins_again(const GeneralRegisters& r) noexcept {
  const std::int64_t result = result_of(r);
  return static_cast<std::int64_t>(r.orig_rax) >= 0 &&
         (result == kRestartSys || result == kRestartNoIntr || result == kRestartNoHand || result == kRestartBlock);
}
/// Whether a stop ended the call for good, as if by a signal: the kernel has calls that begin again for no stop.
inline bool ended_early(const GeneralRegisters& r) noexcept {
  return static_cast<std::int64_t>(r.orig_rax) >= 0 && result_of(r) == -EINTR;
}
/// Has the kernel begin such a call again, unless a signal's handler runs before: then it ends as it would have.
inline void begin_again(GeneralRegisters* r) noexcept { r->rax = static_cast<std::uint64_t>(kRestartNoHand); }

/// Has the kernel skip the rt_sigreturn that the thread stands at the begin of, so that it makes another one.
inline void return_later(GeneralRegisters* r, std::uintptr_t restorer) noexcept {
  r->orig_rax = ~std::uint64_t{0};
  r->rip = restorer;
}

/// The thread calls a function. \param frame  where its return address stands
inline void set_call(GeneralRegisters* r, std::uintptr_t function, std::uintptr_t frame,
                     std::span<const std::uint64_t> arguments) noexcept {
  constexpr std::uint64_t kPlainFlags = 0x202;  // interrupts are on; direction: upwards
  r->rip = function;
  r->rsp = frame;
  r->rax = 0;
  r->orig_rax = ~std::uint64_t{0};
  r->eflags = kPlainFlags;
  decltype(r->rdi)* places[] = {&r->rdi, &r->rsi, &r->rdx, &r->rcx, &r->r8, &r->r9};
  for (std::size_t i = 0; i < arguments.size() && i < 6; ++i) *places[i] = arguments[i];
}

/// Where the thread stands at the entry to rt_sigreturn through such a frame.
inline bool is_at_return(const GeneralRegisters& r, std::uintptr_t frame) noexcept {
  return static_cast<long>(r.orig_rax) == SYS_rt_sigreturn && r.rsp == frame + sizeof(std::uint64_t);
}

/// A frame as the kernel pushes it for a signal, without the signal.
class ReturnFrame {
 public:
  static constexpr std::size_t kMostWide = 16 << 10, kScratchBytes = 256;

  /// \param wide  the wide registers, as the kernel gave them \param mask  the signals that the thread blocks
  /// \param restorer  code that calls rt_sigreturn
  ReturnFrame(const GeneralRegisters& r, std::span<const unsigned char> wide, std::uint64_t mask,
              std::uintptr_t restorer) noexcept {
    const std::size_t wide_bytes = wide.size() < kMostWide ? wide.size() : kMostWide;
    scratch_ = (r.rsp - kRedZone - kScratchBytes) & ~std::uintptr_t{15};
    const std::uintptr_t wide_at = (scratch_ - wide_bytes - 64) & ~std::uintptr_t{63};
    at_ = ((wide_at - sizeof(ucontext_t)) & ~std::uintptr_t{15}) - sizeof(std::uint64_t);
    bytes_ = wide_at - at_ + wide_bytes + sizeof kWideEnd;
    std::memset(image_, 0, sizeof image_);
    std::memcpy(image_, &restorer, sizeof restorer);
    put_context(r, mask, wide_at, wide_bytes != 0);
    if (wide_bytes != 0) put_wide(wide.first(wide_bytes), image_ + (wide_at - at_));
  }

  std::uintptr_t at() const noexcept { return at_; }  ///< of the return address: the stack pointer at the call
  std::uintptr_t scratch() const noexcept { return scratch_; }  ///< of kScratchBytes, for what arguments point to
  std::span<const unsigned char> image() const noexcept { return {image_, bytes_}; }

 private:
  // What asm/sigcontext.h calls FP_XSTATE_MAGIC1 and 2, and where they stand.
  static constexpr std::uint32_t kWideBegin = 0x46505853, kWideEnd = 0x46505845;
  static constexpr std::size_t kWideWords = 464;
  static constexpr std::uint64_t kHasWide = 1, kHasStackSegment = 2, kStrictStackSegment = 4;

  /// The call that was interrupted begins anew, with all of its time.
  void put_context(const GeneralRegisters& r, std::uint64_t mask, std::uintptr_t wide_at, bool has_wide) noexcept {
    ucontext_t context;
    std::memset(&context, 0, sizeof context);
    context.uc_flags = kHasStackSegment | kStrictStackSegment | (has_wide ? kHasWide : 0);
    context.uc_stack.ss_flags = -1;  // no such stack: the thread's own stays
    greg_t* to = context.uc_mcontext.gregs;
    const bool again = begins_again(r);
    const std::uint64_t values[] = {r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rdi, r.rsi, r.rbp, r.rbx,
                                    r.rdx, again ? r.orig_rax : r.rax, r.rcx, r.rsp, again ? r.rip - 2 : r.rip,
                                    r.eflags, r.cs | r.ss << 48};
    std::memcpy(to, values, sizeof values);
    context.uc_mcontext.fpregs = has_wide ? reinterpret_cast<fpregset_t>(wide_at) : nullptr;
    std::memcpy(&context.uc_sigmask, &mask, sizeof mask);
    std::memcpy(image_ + sizeof(std::uint64_t), &context, kContextBytes);
  }
  /// What the kernel looks for in a frame, beside the registers.
  static void put_wide(std::span<const unsigned char> wide, unsigned char* to) noexcept {
    std::memcpy(to, wide.data(), wide.size());
    std::uint64_t features = 0;
    std::memcpy(&features, wide.data() + kWideWords, sizeof features);
    const auto bytes = static_cast<std::uint32_t>(wide.size());
    const std::uint32_t words[] = {kWideBegin, bytes + 4, static_cast<std::uint32_t>(features),
                                   static_cast<std::uint32_t>(features >> 32), bytes};
    std::memcpy(to + kWideWords, words, sizeof words);
    std::memcpy(to + wide.size(), &kWideEnd, sizeof kWideEnd);
  }

  /// The kernel's part of ucontext_t: up to the first word of the set of signals.
  static constexpr std::size_t kContextBytes = offsetof(ucontext_t, uc_sigmask) + sizeof(std::uint64_t);

  std::uintptr_t at_, scratch_;
  std::size_t bytes_;
  unsigned char image_[kMostWide + sizeof(ucontext_t) + 256];
};

}  // namespace mallard::arch
