// SPDX-License-Identifier: Apache-2.0
#include "cli/check/findings.hpp"

#include <elf.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <initializer_list>
#include <span>
#include <string_view>

#include "arch/elf.hpp"
#include "cli/check/allocators.hpp"
#include "cli/file.hpp"

namespace mallard::cli {
namespace {

const char* const kUseRedirect = "build the program to use the system's malloc, so that mallard can serve it";

bool is_glibc(const ElfFile& file) {
  return file.soname == "libc.so.6" || file.soname.starts_with("ld-linux-");
}

/// First name among `names` that one of the patterns matches, or empty.
std::string first_match(const std::set<std::string>& names, std::span<const std::string_view> patterns) {
  for (std::string_view pattern : patterns)
    for (const std::string& name : names)
      if (inside::matches(pattern, name)) return name;
  return {};
}

bool is_its_own_library(const inside::KnownAllocator& allocator, const ElfFile& file) {
  const std::string_view name = file.soname.empty() ? base_name(file.path) : std::string_view(file.soname);
  return std::any_of(allocator.sonames.begin(), allocator.sonames.end(),
                     [&](std::string_view s) { return name.starts_with(s); });
}

/// The symbol that told of an allocator.
std::string evidence_of(const inside::CarriedAllocator& c) {
  return c.by_text ? "by its messages" : c.symbol;
}

std::string full_name(const inside::CarriedAllocator& c) {
  return c.version[0] == '\0' ? std::string(c.allocator->name)
                              : fmt::format("{} {}", c.allocator->name, c.version);
}

/// interpose/jemalloc_calls.cpp: these two stand for the interface.
bool is_led_to_mallard(const std::string& call) { return call == "mallocx" || call == "rallocx"; }

/// That a program opens objects so stands in its code: it is known of PHP, by name.
void judge_deepbind(std::vector<Finding>* out) {
  out->push_back({"deepbind", Severity::kNote,
                  "opens its extensions with RTLD_DEEPBIND; mallard takes the flag out, where its backend is "
                  "not glibc's malloc, so that they share the program's heap",
                  "ALLOC_KEEP_DEEPBIND=1 keeps it, for extensions that bring an allocator of their own"});
}

/// Judges what both programs and libraries may have in them.
void judge_contents(const ElfFile& file, bool is_program, std::vector<Finding>* out) {
  const bool exports_malloc = file.exports.contains("malloc") && !is_glibc(file);
  if (exports_malloc && is_program)
    out->push_back({"own_malloc", Severity::kAll,
                    "defines malloc itself and exports it, so the loader binds every object to that one, not "
                    "to mallard's",
                    kUseRedirect});
  bool knows_malloc = false;
  for (const inside::CarriedAllocator& c : file.contents.with_managed()) {
    if (c.allocator->is_managed) {
      out->push_back(
          {"managed_heap", Severity::kNote,
           fmt::format("has {}: its objects lie in memory that it maps by itself", c.allocator->name),
           std::string(c.allocator->advice), std::string(c.allocator->name), c.version, evidence_of(c)});
      if (c.allocator->name.starts_with("PHP")) judge_deepbind(out);
      continue;
    }
    knows_malloc = true;
    if (!is_program && is_its_own_library(*c.allocator, file)) {
      if (exports_malloc)
        out->push_back({"allocator_library", Severity::kNote,
                        fmt::format("is {}; the program is linked with it, but mallard's malloc comes first",
                                    full_name(c)),
                        "it goes on serving, behind mallard; ALLOC_BACKEND chooses another",
                        std::string(c.allocator->name), c.version, evidence_of(c)});
      continue;
    }
    out->push_back(
        {"embedded_allocator", Severity::kPart,
         fmt::format("carries {} inside ({}){}", full_name(c), evidence_of(c),
                     exports_malloc && is_program ? "" : ", whose calls do not pass through mallard"),
         kUseRedirect, std::string(c.allocator->name), c.version, evidence_of(c)});
  }
  if (exports_malloc && !is_program && file.is_symbolic)
    out->push_back({"symbolic", Severity::kPart,
                    "binds its own calls to the malloc that it defines (-Bsymbolic)",
                    "relink it without -Bsymbolic"});
  else if (exports_malloc && !is_program && !knows_malloc)
    out->push_back({"allocator_library", Severity::kNote, "defines malloc too, but mallard's comes first",
                    "it goes on serving, behind mallard; ALLOC_BACKEND chooses another"});
  if (!exports_malloc && file.hidden.contains("malloc") && !is_glibc(file) && !knows_malloc)
    out->push_back(
        {"hidden_malloc", Severity::kPart,
         "defines malloc for itself without exporting it; its own calls do not pass through mallard",
         kUseRedirect});
  for (const inside::KnownAllocator& a : inside::known_allocators()) {
    const std::string call = first_match(file.imports, a.calls);
    if (call.empty() || is_its_own_library(a, file)) continue;
    if (is_led_to_mallard(call))
      out->push_back({"direct_calls", Severity::kNote,
                      fmt::format("calls {}() of {} by name, which mallard sees, too", call, a.name), ""});
    else
      out->push_back(
          {"direct_calls", Severity::kPart,
           fmt::format("calls {}() of {} by name; that memory does not pass through mallard", call, a.name),
           kUseRedirect});
  }
}

std::string_view sanitizer_in(const ElfFile& file) {
  for (const std::string& needed : file.needed)
    if (const auto name = sanitizer_of_library(needed); !name.empty()) return name;
  for (const auto* names : {&file.exports, &file.hidden})
    for (const std::string& symbol : *names)
      if (const auto name = sanitizer_of_symbol(symbol); !name.empty()) return name;
  return {};
}

void judge_privileges(const std::string& path, std::vector<Finding>* out) {
  struct stat facts {};
  if (path.empty() || stat(path.c_str(), &facts) != 0) return;
  const char* kind = facts.st_mode & S_ISUID ? "set-uid" : facts.st_mode & S_ISGID ? "set-gid" : nullptr;
  if (!kind && getxattr(path.c_str(), "security.capability", nullptr, 0) > 0)
    kind = "given file capabilities";
  if (kind)
    out->push_back({"privileged", Severity::kAll,
                    fmt::format("is {}, so the loader ignores LD_PRELOAD", kind),
                    "run a copy of it without these privileges: cp FILE COPY as an ordinary user"});
}

/// The launcher of Java loads the virtual machine when it runs: its file does not show it.
void judge_launcher(const ElfFile& program, std::vector<Finding>* out) {
  if (std::find(program.needed.begin(), program.needed.end(), "libjli.so") == program.needed.end()) return;
  for (const inside::KnownAllocator& a : inside::known_allocators())
    if (a.name == "the Java heap")
      out->push_back(
          {"managed_heap", Severity::kNote,
           "starts a Java virtual machine, which has the Java heap: its objects lie in memory that it "
           "maps by itself",
           std::string(a.advice), std::string(a.name)});
}

std::string go_text(const ElfFile& program) {
  return program.go_version.empty() ? "is a Go program"
                                    : fmt::format("is a Go program ({})", program.go_version);
}

}  // namespace

std::vector<Finding> judge_program(const ElfFile& program, const std::string& status_path) {
  std::vector<Finding> out;
  if (!program.is_for_this_machine || !program.is_64_bit) {
    const bool compatible = program.machine == "i386" || program.machine == "x32";
    out.push_back(
        {"architecture", Severity::kAll,
         fmt::format("is a {}-bit program for {}; libmallard.so is for 64-bit " MALLARD_MACHINE "{}",
                     program.is_64_bit ? 64 : 32, program.machine,
                     compatible ? ", and the loader passes over it" : ""),
         "use a 64-bit " MALLARD_MACHINE " build of the program"});
    return out;
  }
  judge_privileges(status_path, &out);
  // A shared object that is no program has neither interpreter nor DF_1_PIE.
  const bool is_library =
      program.type == ET_DYN && program.interpreter.empty() && program.has_dynamic && !program.is_pie;
  const bool is_static = program.interpreter.empty() && !is_library;
  if (is_static) {
    const std::string how = program.has_dynamic ? "statically linked (static-pie)" : "statically linked";
    if (program.is_go)
      out.push_back({"go", Severity::kAll,
                     fmt::format("{}, {}: Go has an allocator of its own, and nothing loads LD_PRELOAD",
                                 go_text(program), how),
                     "use Go's own profiler (net/http/pprof) for it"});
    else
      out.push_back({"static", Severity::kAll,
                     fmt::format("is {}: no loader runs that could load mallard", how),
                     "link it dynamically"});
    std::vector<Finding> contents;
    judge_contents(program, true, &contents);
    for (Finding& f : contents)  // that it has a malloc goes without saying
      if (f.id == "embedded_allocator") out.push_back(std::move(f));
    return out;
  }
  if (is_library)
    out.push_back({"library", Severity::kNote, "is a shared object; what loads it decides too",
                   "check the program that loads it"});
  if (program.interpreter.find("ld-musl") != std::string::npos)
    out.push_back({"musl", Severity::kAll, "uses musl; libmallard.so needs glibc and cannot be loaded there",
                   "use a build of the program for glibc"});
  else if (!program.interpreter.empty() && access(program.interpreter.c_str(), X_OK) != 0)
    out.push_back(
        {"interpreter_missing", Severity::kAll,
         fmt::format("needs the interpreter '{}', which is not here: it cannot start", program.interpreter),
         ""});
  if (const auto sanitizer = sanitizer_in(program); !sanitizer.empty())
    out.push_back(
        {"sanitizer", Severity::kAll,
         fmt::format("is built with {}, which needs malloc for itself: mallard steps aside", sanitizer),
         "use a build without -fsanitize"});
  if (program.is_go)
    out.push_back({"go", Severity::kPart,
                   go_text(program) + ": of its memory mallard sees only what C code (cgo) allocates",
                   "use Go's own profiler (net/http/pprof) for the rest"});
  judge_contents(program, !is_library, &out);
  judge_launcher(program, &out);
  return out;
}

std::string malloc_of(const ElfFile& object, const ElfFile& program) {
  const bool is_program = &object == &program, has_own = object.exports.contains("malloc");
  if (!object.is_64_bit || !object.is_for_this_machine || is_glibc(object)) return {};
  if (is_program && object.interpreter.empty()) return {};  // nothing is bound: it is static
  if (has_own && (is_program || object.is_symbolic)) return "itself";
  if (!has_own && object.hidden.contains("malloc")) return "itself";
  if (!has_own && !object.imports.contains("malloc")) return {};
  return program.exports.contains("malloc") ? "the program" : "mallard";
}

std::vector<Finding> judge_library(const ElfFile& library) {
  std::vector<Finding> out;
  const std::string_view name =
      library.soname.empty() ? base_name(library.path) : std::string_view(library.soname);
  if (!library.is_64_bit || !library.is_for_this_machine || name.starts_with("libmallard.so")) return out;
  if (const auto sanitizer = sanitizer_of_library(name); !sanitizer.empty()) {
    out.push_back(
        {"sanitizer", Severity::kAll,
         fmt::format("is the runtime of {}, which needs malloc for itself: mallard steps aside", sanitizer),
         "use a build without -fsanitize"});
    return out;
  }
  judge_contents(library, false, &out);
  return out;
}

}  // namespace mallard::cli
