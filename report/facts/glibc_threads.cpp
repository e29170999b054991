// SPDX-License-Identifier: Apache-2.0
#include "report/facts/glibc_threads.hpp"

#include <fcntl.h>
#include <string.h>

#include <algorithm>

#include "arch/thread.hpp"
#include "base/os.hpp"
#include "base/text.hpp"
#include "elf/loaded_objects.hpp"
#include "elf/named_addresses.hpp"
#include "report/facts/proc_fields.hpp"
#include "report/facts/regions.hpp"
#include "report/facts/threads.hpp"

namespace mallard::report {
namespace {

constexpr std::uint32_t kMostBytes = 8192;
constexpr std::size_t kNameBytes = 16;  // TASK_COMM_LEN

/// A field of struct pthread, as nptl_db describes one.
struct Field {
  std::uint32_t bits, count, offset;
};

/// Before glibc 2.34. Whoever takes a piece of memory for a stack by it looks at what the descriptor says of itself.
constexpr ThreadLayout kBefore234 = {arch::kDescriptorBytes, arch::kOlderDescriptorId};

constexpr std::string_view kBytes = "_thread_db_sizeof_pthread", kId = "_thread_db_pthread_tid";

ThreadLayout checked(std::uint32_t bytes, const Field& id) noexcept {
  if (bytes > kMostBytes) return {};
  const bool has_id = id.bits == 32 && id.offset >= 3 * sizeof(std::uintptr_t) && id.offset + 4 <= bytes;
  return {bytes, has_id ? id.offset : 0};
}

struct Thread {
  std::uint32_t id;  ///< as the process sees it
  std::uint32_t id_here;
};

/// What the threads of a process are called.
class ThreadNames {
 public:
  ThreadNames(Arena& arena, const ProcessMemory& process) noexcept
      : arena_(arena), process_(process), threads_(arena) {
    if (process.is_own()) return;
    const StatusFile status(process);
    const std::string_view ids = ids_in_namespaces(status.text());
    is_nested_ = std::count(ids.begin(), ids.end(), '\t') > 1;
    if (is_nested_) list();
  }

  /// \return empty if there is no such thread
  std::string_view of(std::uint32_t id) noexcept {
    if (is_nested_) {
      const std::span<Thread> all = threads_.all();
      const auto found = std::find_if(all.begin(), all.end(), [id](const Thread& t) { return t.id == id; });
      if (found == all.end()) return {};
      id = found->id_here;
    }
    FixedText<64> name;
    name.add("task/").add_unsigned(id).add("/comm");
    char text[kNameBytes + 2];
    long n = process_.read_file(name.view(), text, sizeof text);
    if (n > 0 && text[n - 1] == '\n') --n;
    if (n <= 0) return {};
    char* copy = arena_.array<char>(static_cast<std::size_t>(n));
    if (!copy) return {};
    memcpy(copy, text, static_cast<std::size_t>(n));
    return {copy, static_cast<std::size_t>(n)};
  }

 private:
  void list() noexcept {
    for_each_thread(
        process_,
        [](std::uint32_t id, void* self) noexcept {
          auto& names = *static_cast<ThreadNames*>(self);
          FixedText<64> name;
          name.add("task/").add_unsigned(id).add("/status");
          char text[2048];
          const long n = names.process_.read_file(name.view(), text, sizeof text);
          if (n <= 0) return true;
          return names.threads_.add({id_seen_inside({text, static_cast<std::size_t>(n)}), id});
        },
        this);
  }

  Arena& arena_;
  const ProcessMemory& process_;
  Growing<Thread> threads_;
  bool is_nested_ = false;  ///< it sees other ids than we do
};

/// The id of the thread whose stack ends at `end`; 0 = it is not told. The descriptor lies at the end, as far
/// down as what it has to be aligned to asks for.
std::uint32_t id_of_stack(const ProcessMemory& process, const ThreadLayout& layout, std::uintptr_t begin,
                          std::uintptr_t end) noexcept {
  constexpr std::uintptr_t kSmallestAlignment = 64, kLargestAlignment = 4096;
  for (std::uintptr_t alignment = kSmallestAlignment; alignment <= kLargestAlignment; alignment *= 2) {
    if (end - begin < layout.bytes + alignment) return 0;
    const std::uintptr_t thread = (end - layout.bytes) & ~(alignment - 1);
    std::uintptr_t head[3];
    std::uint32_t id;
    if (process.get(thread, &head) && head[0] == thread && head[2] == thread &&
        process.get(thread + layout.id_at, &id))
      return id;
  }
  return 0;
}

}  // namespace

ThreadLayout thread_layout_of(const elf::Modules& modules) noexcept {
  const ProcessMemory& process = modules.process();
  if (process.is_own()) {
    const auto* bytes = static_cast<const std::uint32_t*>(elf::find_symbol(elf::libc_object(), kBytes.data()));
    const auto* id = static_cast<const Field*>(elf::find_symbol(elf::libc_object(), kId.data()));
    return bytes ? checked(*bytes, id ? *id : Field{}) : kBefore234;
  }
  for (const elf::Module& m : modules.all()) {
    elf::NamedAddress named[] = {{kBytes}, {kId}};
    std::uint32_t bytes = 0;
    Field id{};
    if (!elf::may_be_libc(m) || !elf::find_addresses(m, process, named) || named[0].address == 0 ||
        !process.get(named[0].address, &bytes))
      continue;
    if (named[1].address == 0 || !process.get(named[1].address, &id)) id = {};
    return checked(bytes, id);
  }
  return kBefore234;
}

void name_stacks(Arena& arena, Regions* regions) noexcept {
  const ThreadLayout& layout = regions->threads;
  if (layout.id_at == 0) return;
  ThreadNames names(arena, regions->modules.process());
  for (Region& r : regions->all) {
    if (r.owner != Owner::kStack || !r.name.empty() || !r.readable || !r.writable) continue;
    const std::uint32_t id = id_of_stack(regions->modules.process(), layout, r.begin, r.end);
    if (id != 0) r.name = names.of(id);
  }
}

}  // namespace mallard::report
