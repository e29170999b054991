// SPDX-License-Identifier: Apache-2.0
// What the kernel would show in /proc of the process that a core file is of.
#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "base/os.hpp"
#include "base/pagemap.hpp"
#include "base/text.hpp"
#include "outside/core_file.hpp"

namespace mallard::outside {
namespace {

int new_file(const char* name) noexcept {
  return static_cast<int>(os::call(SYS_memfd_create, os::arg(name), MFD_CLOEXEC));
}

bool write_all(int fd, std::string_view text) noexcept {
  return fd >= 0 && os::write_all(fd, text.data(), text.size()) == 0;
}

bool is_zero(const std::uint64_t* page) noexcept {
  std::uint64_t any = 0;
  for (std::size_t i = 0; i < kPageBytes / sizeof *page; ++i) any |= page[i];
  return any == 0;
}

/// A number that is the same for the same path, and hardly ever for another.
std::uint64_t number_of(std::string_view path) noexcept {
  std::uint64_t h = 0xcbf2'9ce4'8422'2325;
  for (const char c : path) h = (h ^ static_cast<unsigned char>(c)) * 0x100'0000'01b3;
  return (h >> 16 & 0x7fff'ffff'ffff) + 1;
}

}  // namespace

/// Where the heap of the program break is: the first anonymous memory beyond what is mapped of the
/// executable, not beside it, for the kernel leaves a random gap of up to 1 GiB; beside it where it does not.
void CoreFile::find_break() noexcept {
  constexpr std::uintptr_t kMostGap = (std::uintptr_t{1} << 30) + (std::uintptr_t{32} << 20);
  const std::uintptr_t entry = auxiliary(AT_ENTRY);
  const MappedFile* exe = mapped_file(entry);
  if (!exe) return;
  executable_ = exe->path;
  // Node maps a part of its own file once more, far away: its segments lie near to each other.
  constexpr std::uintptr_t kMostBetween = 64 << 20;
  std::uintptr_t end = exe->end;
  for (const MappedFile& file : mapped_)  // ascending
    if (file.path == executable_ && file.begin <= end + kMostBetween) end = std::max(end, file.end);
  const Load* beside = nullptr;
  for (const Load& load : loads_) {
    if (load.begin < end) continue;
    if (load.begin - end > kMostGap || mapped_file(load.begin)) break;
    if ((load.flags & (PF_R | PF_W | PF_X)) != (PF_R | PF_W)) continue;
    if (load.begin == end) {
      beside = &load;
      continue;
    }
    break_begin_ = load.begin;
    return;
  }
  if (beside) break_begin_ = beside->begin;
}

/// The mapping of the same file that has its headers, as a rule.
const CoreFile::MappedFile* CoreFile::first_of(const MappedFile& file) const noexcept {
  const MappedFile* first = &file;
  while (first > mapped_.data() && first->offset != 0 && first[-1].path == file.path) --first;
  return first;
}

/// The rights of a mapping that the core has no word of: those of the segment in the object's headers, which
/// are in the core as a rule.
std::uint32_t CoreFile::rights_of(const MappedFile& file) noexcept {
  const MappedFile* first = first_of(file);
  if (first != headers_of_) {
    headers_.close();
    headers_.use_process(*this, first->begin);
    headers_of_ = headers_.parse() == elf::Fault::kNone ? first : nullptr;
  }
  std::uint32_t rights = PF_R;
  if (headers_of_ == nullptr) return rights;
  for (const Elf64_Phdr& p : headers_.segments())
    if (p.p_type == PT_LOAD && file.offset >= p.p_offset / kPageBytes * kPageBytes &&
        file.offset < p.p_offset + p.p_filesz)
      rights |= p.p_flags & (PF_R | PF_X);
  return rights;
}

/// The process's file, by the build-id that its headers in the core have. \return -1 if it is not here
int CoreFile::file_of(const MappedFile& mapped) const noexcept {
  for (const OpenFile& open : std::span(open_, open_count_))
    if (open.path == mapped.path) return open.fd;
  if (open_count_ == kMostOpen) return -1;
  OpenFile& open = open_[open_count_++];
  open = {mapped.path, -1};
  const MappedFile* first = first_of(mapped);
  const Load* load = load_of(first->begin);
  if (!load || load->bytes == 0) return -1;  // nothing of it to compare with
  Arena arena;
  elf::Image in_core, file;
  in_core.use_process(*this, first->begin);
  if (in_core.parse() != elf::Fault::kNone) return -1;
  const std::string_view build_id = in_core.read_build_id(arena);
  FixedText<4200> path;
  path.add("/proc/self/fd/").add_unsigned(static_cast<std::uint64_t>(files_[kRoot])).add(mapped.path);
  const bool is_exe = mapped.path == executable_ && files_[kExe] >= 0;
  if (is_exe) path.clear(), path.add("/proc/self/fd/").add_unsigned(static_cast<std::uint64_t>(files_[kExe]));
  const long fd = os::open(path.c_str(), O_RDONLY | O_NONBLOCK);
  if (fd < 0) return -1;
  const bool same = !build_id.empty() && file.use_file(static_cast<int>(fd)) &&
                    file.parse() == elf::Fault::kNone && file.read_build_id(arena) == build_id;
  if (!same) return os::close(static_cast<int>(fd)), -1;
  return open.fd = static_cast<int>(fd);
}

/// What a core leaves out because a file has it.
bool CoreFile::copy_from_file(void* to, std::uintptr_t from, std::size_t bytes) const noexcept {
  const MappedFile* mapped = files_[kRoot] >= 0 ? mapped_file(from) : nullptr;
  const Load* load = load_of(from);
  if (!mapped || !load || (load->flags & PF_W) || bytes > mapped->end - from) return false;
  const int fd = file_of(*mapped);
  if (fd < 0) return false;
  for (std::size_t done = 0; done < bytes;) {
    const long n = os::pread(fd, static_cast<char*>(to) + done, bytes - done,
                             mapped->offset + (from - mapped->begin) + done);
    if (n <= 0) return false;
    done += static_cast<std::size_t>(n);
  }
  return true;
}

/// gcore leaves out code and what else is in a file, and does not say of the rest whether it may be executed.
bool CoreFile::add_unloaded_files() noexcept {
  Growing<Load> all(arena_);
  std::size_t next = 0;
  for (const MappedFile& file : mapped_) {
    const std::uint32_t rights = rights_of(file);
    for (std::uintptr_t at = file.begin; at < file.end;) {
      while (next < loads_.size() && loads_[next].end <= at) all.add(loads_[next++]);
      const bool inside = next < loads_.size() && loads_[next].begin <= at;
      if (inside) {
        if (!(loads_[next].flags & PF_W)) loads_[next].flags |= rights & PF_X;
        at = loads_[next].end;
        continue;
      }
      const std::uintptr_t end = std::min(file.end, next < loads_.size() ? loads_[next].begin : file.end);
      if (all.size() > 0 && all[all.size() - 1].end > at)
        break;  // of two files at one place the first counts
      all.add({at, end, 0, 0, rights});
      left_out_ += end - at;
      at = end;
    }
  }
  while (next < loads_.size()) all.add(loads_[next++]);
  loads_ = all.all();
  return !all.out_of_memory();
}

/// "" for anonymous memory that nothing is known of.
std::string_view CoreFile::name_of(const Load& load) const noexcept {
  const auto holds = [&load](std::uint64_t at) { return at >= load.begin && at < load.end; };
  if (break_begin_ != 0 && load.begin == break_begin_) return "[heap]";
  if (auxiliary(AT_SYSINFO_EHDR) != 0 && holds(auxiliary(AT_SYSINFO_EHDR))) return "[vdso]";
  if (auxiliary(AT_RANDOM) != 0 && holds(auxiliary(AT_RANDOM))) return "[stack]";
  return {};
}

std::uintptr_t CoreFile::begin_of_file_behind(std::uintptr_t at) const noexcept {
  const auto next = std::upper_bound(mapped_.begin(), mapped_.end(), at,
                                     [](std::uintptr_t x, const MappedFile& m) { return x < m.begin; });
  return next == mapped_.end() ? ~std::uintptr_t{0} : next->begin;
}

bool CoreFile::write_maps() noexcept {
  constexpr std::size_t kRoom = 64 << 10, kLongest = 24 << 10;
  char* room = arena_.array<char>(kRoom);
  files_[kMaps] = new_file("maps");
  if (!room) return false;
  TextBuffer text(room, kRoom);
  for (const Load& load : loads_)
    for (std::uintptr_t at = load.begin, end; at < load.end; at = end) {
      const MappedFile* file = mapped_file(at);
      end = load.end;
      if (file) end = std::min(end, file->end);
      else if (const std::uintptr_t next = begin_of_file_behind(at); next < end) end = next;
      if (text.size() > kRoom - kLongest) {
        if (!write_all(files_[kMaps], text.view())) return false;
        text.clear();
      }
      text.add_unsigned(at, 16).add('-').add_unsigned(end, 16).add(' ');
      text.add(load.flags & PF_R ? 'r' : '-')
          .add(load.flags & PF_W ? 'w' : '-')
          .add(load.flags & PF_X ? 'x' : '-');
      text.add(file && file->is_shared ? 's' : 'p').add(' ');
      text.add_unsigned(file ? file->offset + (at - file->begin) : 0, 16).add(" 00:00 ");
      text.add_unsigned(file ? number_of(file->path) : 0).add(' ');
      if (!file) text.add(name_of(load));
      else
        for (const char c : file->path) {
          if (c == '\n') text.add("\\012");
          else if (c == '\\') text.add("\\134");
          else text.add(c);
        }
      text.add('\n');
    }
  return write_all(files_[kMaps], text.view());
}

/// Pages of zeros are left out: most of them were never touched, and the core does not tell.
bool CoreFile::write_pagemap() noexcept {
  files_[kPagemap] = new_file("pagemap");
  constexpr long kBytes = long{1} << (47 - 12 + 3);
  if (files_[kPagemap] < 0 || os::call(SYS_ftruncate, files_[kPagemap], kBytes) != 0) return false;
  for (const Load& load : loads_)
    if (!write_pages(load)) return false;
  return true;
}

bool CoreFile::write_pages(const Load& load) noexcept {
  constexpr std::size_t kAtOnce = 64;
  static constinit std::uint64_t pages[kAtOnce][kPageBytes / sizeof(std::uint64_t)]{};
  const MappedFile* file = mapped_file(load.begin);
  const bool shared = file && file->is_shared, of_file = file && !(load.flags & PF_W);
  const std::uint64_t entry =
      pagemap::kPresent | pagemap::kMappedOnce | (shared || of_file ? pagemap::kOfFile : 0);
  const bool is_kernels = name_of(load) == "[vdso]";
  std::uint64_t& sum = shared ? shared_ : of_file ? of_files_ : anonymous_;
  for (std::uint64_t at = 0; at < load.bytes;) {
    const long data = os::call(SYS_lseek, fd_, static_cast<long>(load.offset + at), SEEK_DATA);
    if (data < 0) break;  // only holes from here on
    const std::uint64_t skipped = static_cast<std::uint64_t>(data) - load.offset;
    at = std::max(at, skipped / kPageBytes * kPageBytes);
    if (at >= load.bytes) break;
    const std::size_t count = std::min<std::uint64_t>(kAtOnce, (load.bytes - at) / kPageBytes);
    if (!read_at(load.offset + at, pages, count * kPageBytes)) break;
    std::uint64_t entries[kAtOnce];
    for (std::size_t i = 0; i < count; ++i) {
      entries[i] = is_zero(pages[i]) ? 0 : entry;
      if (entries[i] != 0 && !is_kernels) sum += kPageBytes;
    }
    const auto first = static_cast<long>((load.begin + at) / kPageBytes * sizeof *entries);
    const auto bytes = static_cast<long>(count * sizeof *entries);
    if (os::call(SYS_pwrite64, files_[kPagemap], os::arg(entries), bytes, first) != bytes) return false;
    at += count * kPageBytes;
  }
  return true;
}

bool CoreFile::write_facts() noexcept {
  FixedText<1024> status;
  const auto kilobytes = [&status](std::string_view name, std::uint64_t bytes) {
    status.add(name).add(":\t").add_unsigned(bytes / 1024).add(" kB\n");
  };
  status.add("Name:\t")
      .add(view_of(name_))
      .add("\nPid:\t")
      .add_signed(pid_)
      .add("\nPPid:\t")
      .add_signed(parent_);
  status.add("\nThreads:\t").add_unsigned(thread_count_).add('\n');
  kilobytes("VmRSS", anonymous_ + of_files_ + shared_);
  kilobytes("RssAnon", anonymous_);
  kilobytes("RssFile", of_files_);
  kilobytes("RssShmem", shared_);
  files_[kStatus] = new_file("status");
  files_[kAuxv] = new_file("auxv");
  files_[kCmdline] = new_file("cmdline");
  return write_all(files_[kStatus], status.view()) && write_all(files_[kCmdline], view_of(arguments_)) &&
         write_all(files_[kAuxv], {reinterpret_cast<const char*>(auxv_.data()), auxv_.size_bytes()});
}

int CoreFile::find_files(const char* executable, const char* sysroot, const char** which) noexcept {
  const bool has_sysroot = *sysroot != '\0';
  files_[kRoot] = static_cast<int>(os::open(has_sysroot ? sysroot : "/", O_PATH | O_DIRECTORY));
  if (files_[kRoot] < 0) return *which = sysroot, -files_[kRoot];
  if (*executable != '\0') {
    files_[kExe] = static_cast<int>(os::open(executable, O_RDONLY | O_NONBLOCK));
    return files_[kExe] >= 0 ? 0 : (*which = executable, -files_[kExe]);
  }
  FixedText<4200> path;
  path.add("/proc/self/fd/").add_unsigned(static_cast<std::uint64_t>(files_[kRoot])).add(executable_);
  if (!executable_.empty()) files_[kExe] = static_cast<int>(os::open(path.c_str(), O_RDONLY | O_NONBLOCK));
  return 0;
}

const char* CoreFile::drop_other_executable() noexcept {
  const auto why_other = [this]() -> const char* {
    Arena arena;
    elf::Image file, in_core;
    if (!file.use_file(files_[kExe]) || file.parse() != elf::Fault::kNone) return "it is no ELF file";
    const MappedFile* first = mapped_file(auxiliary(AT_ENTRY));
    if (!first) return "the core does not say which file ran";
    while (first > mapped_.data() && first->offset != 0 && first[-1].path == first->path) --first;
    const Load* load = load_of(first->begin);
    if (load && load->bytes > 0) in_core.use_process(*this, first->begin);
    const bool has_headers = load && load->bytes > 0 && in_core.parse() == elf::Fault::kNone;
    const std::string_view build_id = has_headers ? in_core.read_build_id(arena) : std::string_view();
    if (build_id.empty()) return "the core has no build-id to compare it with";
    return file.read_build_id(arena) == build_id ? nullptr : "its build-id is not that of the file that ran";
  };
  const char* why = why_other();
  if (why) os::close(files_[kExe]), files_[kExe] = -1;
  return why;
}

}  // namespace mallard::outside
