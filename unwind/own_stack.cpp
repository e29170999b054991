// SPDX-License-Identifier: Apache-2.0
#include "unwind/own_stack.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <atomic>
#include <iterator>

#include "arch/thread.hpp"
#include "base/os.hpp"
#include "base/parts.hpp"

extern "C" [[gnu::weak]] void* __libc_stack_end;  // glibc's loader: where the first thread's stack began

namespace mallard::unwind {
namespace {

using Word = std::uintptr_t;

constinit std::uintptr_t g_first_descriptor = 0;
constinit std::atomic<std::uint64_t> g_maps_readings{0};
MALLARD_PART(maps_readings, g_maps_readings);

/// Where a descriptor says which block of memory the stack lies in: two words, its begin and its bytes.
constexpr std::uint32_t kNotLookedFor = 0, kUnknown = ~std::uint32_t{0};
constinit std::atomic<std::uint32_t> g_block_at{kNotLookedFor};

/// glibc knows no block for the first thread, and keeps in the place of its size where the stack began.
std::uint32_t look_for_block() noexcept {
  if (g_first_descriptor == 0 || !&__libc_stack_end) return kUnknown;
  constexpr std::uint32_t kPiece = 256;  // small: it lies on the host's stack
  static_assert(arch::kDescriptorBytes % kPiece == 0);
  Word words[kPiece / sizeof(Word)], before = 1;
  std::uint32_t found = kUnknown;
  for (std::uint32_t at = 0; at < arch::kDescriptorBytes; at += kPiece) {
    if (!os::copy_if_readable(words, g_first_descriptor + at, kPiece)) return kUnknown;
    for (std::uint32_t i = 0; i < std::size(words); before = words[i++]) {
      if (words[i] != address_of(__libc_stack_end) || before != 0) continue;
      if (found != kUnknown) return kUnknown;
      found = at + (i - 1) * static_cast<std::uint32_t>(sizeof(Word));
    }
  }
  return found;
}

/// By the thread's descriptor. The kernel copies it, as a thread that libc did not make may have none.
bool find_by_descriptor() noexcept {
  std::uint32_t at = g_block_at.load(std::memory_order_relaxed);
  if (at == kNotLookedFor) g_block_at.store(at = look_for_block(), std::memory_order_relaxed);
  const std::uintptr_t descriptor = arch::thread_descriptor();
  struct {
    Word self, behind_self, begin, bytes;
  } words;
  const std::uintptr_t from[] = {descriptor + arch::kDescriptorSelf, descriptor + at};
  if (at == kUnknown || os::copy_pieces_if_readable(&words, from, 2, sizeof words / 2) != 2 ||
      words.self != descriptor || words.begin == 0 || descriptor - words.begin >= words.bytes)
    return false;
  t_own_stack.low = words.begin;
  t_own_stack.high = descriptor;
  return true;
}

// A thread that lives on foreign stacks only must not read the maps for every capture.
constexpr int kMaxSearches = 8;
// The first thread's stack grows down into space that the kernel keeps free for it.
constexpr std::uintptr_t kGrowth = std::uintptr_t{64} << 20;

/// Finds the mapping that holds an address: by asking the kernel, or by reading the lines of /proc/self/maps
/// up to it in small pieces. The kernel gives one page at most for a read, and takes its time for each line.
class MapsSearch {
 public:
  explicit MapsSearch(std::uintptr_t address) noexcept : address_(address) {}

  bool run() noexcept {
    const long fd = os::open("/proc/self/maps", O_RDONLY);
    if (fd < 0) return false;
    char text[1024];
    long n;
    done_ = ask(static_cast<int>(fd));
    while (!done_ && (n = os::read(static_cast<int>(fd), text, sizeof text)) > 0)
      for (long i = 0; i < n && !done_; ++i) read_char(text[i]);
    os::close(static_cast<int>(fd));
    return found_;
  }

  std::uintptr_t start() const noexcept { return start_; }
  std::uintptr_t end() const noexcept { return value_; }
  bool main_stack() const noexcept { return stack_name_; }

 private:
  enum Part { kStart, kEnd, kRest };

  /// \return whether the kernel could tell, as it can since Linux 6.11 (PROCMAP_QUERY)
  bool ask(int maps) noexcept {
    if (!&__libc_stack_end) return false;  // then the first thread's stack must be known by its name
    std::uint64_t query[13] = {sizeof query, 0, address_};
    const long result =
        os::call(SYS_ioctl, maps, static_cast<long>(_IOWR('f', 17, std::uint64_t[13])), os::arg(query));
    if (result != 0) return result == -ENOENT;
    start_ = query[3];
    value_ = query[4];
    return found_ = true;
  }

  void read_char(char c) noexcept {
    if (part_ == kRest) {
      // The name stands last in a line; only the first thread's stack is called [stack].
      if (previous_ == '[' && c == 's') stack_name_ = true;
      previous_ = c;
      if (c != '\n') return;
      done_ = found_;
      if (done_) return;
      part_ = kStart;
      stack_name_ = false;
      value_ = 0;
    } else if (part_ == kStart && c == '-') {
      start_ = value_;
      value_ = 0;
      part_ = kEnd;
    } else if (part_ == kEnd && c == ' ') {
      found_ = start_ <= address_ && address_ < value_;
      part_ = kRest;
    } else {
      value_ = value_ * 16 + static_cast<std::uintptr_t>(c <= '9' ? c - '0' : c - 'a' + 10);
    }
  }

  std::uintptr_t address_, start_ = 0, value_ = 0;
  Part part_ = kStart;
  char previous_ = 0;
  bool stack_name_ = false, found_ = false, done_ = false;
};

}  // namespace

constinit __thread OwnStack t_own_stack{};

void note_first_thread() noexcept {
  if (g_first_descriptor == 0) g_first_descriptor = arch::thread_descriptor();
}

MALLARD_COLD std::uintptr_t search_own_stack(std::uintptr_t sp) noexcept {
  OwnStack& own = t_own_stack;
  if (own.searches >= kMaxSearches) return 0;
  ++own.searches;
  const std::uintptr_t descriptor = arch::thread_descriptor();
  if (descriptor != g_first_descriptor && find_by_descriptor()) {
    own.searches = kMaxSearches;  // fixed for the thread's life
    return sp - own.low < own.high - own.low ? own.high : 0;
  }
  MapsSearch maps(sp);
  g_maps_readings.fetch_add(1, std::memory_order_relaxed);
  if (!maps.run()) return 0;
  // Where another program runs this one, as valgrind does, no mapping of the first thread's stack has a name.
  const std::uintptr_t first = &__libc_stack_end ? address_of(__libc_stack_end) : 0;
  if (maps.main_stack() || (maps.start() < first && first < maps.end())) {
    own = {maps.start() - kGrowth, maps.end(), own.searches};
  } else if (descriptor != g_first_descriptor && sp < descriptor && descriptor < maps.end()) {
    // The first thread's descriptor is not at the end of its stack. What borders on it is a foreign one, as
    // that on which a signal handler creates the reporter.
    own = {maps.start(), descriptor, kMaxSearches};  // fixed for the thread's life
  } else {
    return 0;
  }
  return own.high;
}

bool find_mapping(std::uintptr_t address, std::uintptr_t* begin, std::uintptr_t* end) noexcept {
  MapsSearch maps(address);
  if (!maps.run()) return false;
  *begin = maps.start();
  *end = maps.end();
  return true;
}

bool own_stacks_adopt(const OtherParts& parts) noexcept { return parts.adopt(g_maps_readings); }
std::uint64_t maps_readings() noexcept { return g_maps_readings.load(std::memory_order_relaxed); }

}  // namespace mallard::unwind
