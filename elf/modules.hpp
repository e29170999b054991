// SPDX-License-Identifier: Apache-2.0
// Modules: the objects loaded in a process, from one reading of /proc/PID/maps. No lock of the loader is
// taken, and nothing is missed that a host could have hidden from dl_iterate_phdr. Context: reporter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/arena.hpp"
#include "base/process_memory.hpp"
#include "elf/image.hpp"
#include "elf/maps.hpp"

namespace mallard::elf {

enum class ModuleKind : std::uint8_t {
  kElf,        ///< a loaded ELF file
  kVdso,       ///< the kernel's; its image is in memory
  kOtherFile,  ///< executable mapping of a file that is no ELF: addresses are file offsets
  kAnonymous,  ///< executable memory without a file (JIT): addresses are the process's
};

/// Whole pages of a loaded object: of one of its segments, .bss included.
struct SegmentPages {
  std::uintptr_t begin, end;
};

/// What executable memory belongs to. Strings live in the arena.
struct Module {
  std::string_view path;                ///< without " (deleted)"; "[vdso]"; "[anonymous code]"
  std::string_view build_id;            ///< lower-case hex; empty = none
  std::uintptr_t load_bias;             ///< address in the process - address in the ELF file
  std::uintptr_t begin, end;            ///< from its first to its last executable mapping
  std::uintptr_t span_begin, span_end;  ///< of all its segments, .bss included; 0 if it is no ELF
  std::uintptr_t data_begin;            ///< where its writable segments begin; span_end if there is none
  /// Ascending, where the loader put the object there; memory between them is somebody else's. Empty for a
  /// view of part of an ELF file (V8 maps its built-in functions a second time): its span is what is mapped.
  std::span<const SegmentPages> segments;
  std::uint64_t device, inode;
  std::uintptr_t map_begin, map_end;  ///< the mapping behind /proc/PID/map_files for its file
  ModuleKind kind;
  bool deleted;  ///< the file was removed or replaced since it was loaded
};

/// An executable mapping.
struct CodeRange {
  std::uintptr_t begin, end;
  int module;
};

class Modules {
 public:
  /// Reads the maps. \return false if they cannot be read or memory is out; what was found until then stays
  /// \context reporter, exit
  bool read(Arena& arena, const ProcessMemory& process = own_process()) noexcept;
  /// Reads mappings that were listed already, in the order of their addresses. \return false if memory is out
  bool read(Arena& arena, std::span<const Mapping> mappings,
            const ProcessMemory& process = own_process()) noexcept;
  /// Reads other text in the format of /proc/self/maps; for tests.
  bool read_from(Arena& arena, const char* maps_path) noexcept;

  /// Index of the module that `pc` lies in; -1 if it lies in no executable memory.
  int find(std::uintptr_t pc) const noexcept;

  std::span<const Module> all() const noexcept { return modules_; }
  std::span<const CodeRange> code() const noexcept { return code_; }
  /// The process that has loaded them.
  const ProcessMemory& process() const noexcept { return process_ ? *process_ : own_process(); }

 private:
  const ProcessMemory* process_ = nullptr;
  std::span<Module> modules_;
  std::span<CodeRange> code_;
};

/// Opens a module's own file: the one that is mapped, or one with the same build-id; never another that has
/// taken its path. \return false if there is none
bool open_module(const Module& module, Arena& arena, Image* out,
                 const ProcessMemory& process = own_process()) noexcept;

}  // namespace mallard::elf
