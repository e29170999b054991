// SPDX-License-Identifier: Apache-2.0
#include "cli/check/check_result.hpp"

#include "base/options.hpp"
#include "cli/demangled.hpp"
#include "cli/file.hpp"
#include "cli/process/other_signal.hpp"
#include "cli/process/process.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <install_dirs.hpp>  // written when the build is configured
#include <map>
#include <nlohmann/json.hpp>

namespace mallard::cli {
namespace {

using nlohmann::ordered_json;

constexpr int kSchemaVersion = 1;

/// Words for a severity, indexed by it: what the text calls it, and what JSON says that mallard sees.
struct SeverityWords {
  const char *text, *sees;
};
constexpr SeverityWords kWords[] = {{"note", "all"}, {"not seen", "part"}, {"nothing seen", "nothing"}};

const SeverityWords& words_of(Severity s) { return kWords[static_cast<int>(s)]; }

/// First finding of the severity, with its object.
const Finding* first_of(const CheckResult& r, Severity severity, const ObjectReport** object) {
  for (const ObjectReport& o : r.objects)
    for (const Finding& f : o.findings)
      if (f.severity == severity) {
        *object = &o;
        return &f;
      }
  return nullptr;
}

/// A runtime's objects are most of such a program's memory, and no malloc shows them.
std::string runtime_words(const CheckResult& r) {
  for (const ObjectReport& o : r.objects)
    for (const Finding& f : o.findings)
      if (f.id == "managed_heap") return fmt::format(", and not what lies in {}", f.allocator);
  return {};
}

std::string how_to_ask(int pid) {
  const ReportSignal signal = read_report_signal(pid);
  FixedText<32> name;
  add_signal_name(name, signal.number);
  if (signal.number == 0)
    return "no signal asks this process for a report: start it without ALLOC_SIGNAL=none";
  if (!signal.caught)
    return fmt::format("no handler is installed for {}: {}", name.view(), signal_advice(pid, signal.number));
  if (signal.blocked)
    return fmt::format("{}, so that it never arrives: {}", blocked_words(pid, "it", signal.number),
                       signal_advice(pid, signal.number));
  return fmt::format("mallard dump {0} writes a report and shows it, kill -{1} {0} writes one", pid,
                     signal.number == 12 ? "USR2" : std::to_string(signal.number));
}

ordered_json or_null(const std::string& text) { return text.empty() ? ordered_json() : ordered_json(text); }

/// "malloc of 12 objects leads to libmallard.so"; in a process, where the loader has bound it.
std::string where_malloc_leads(const CheckResult& r) {
  std::map<std::string, std::vector<std::string>> by_target;
  for (const ObjectReport& o : r.objects)
    for (const BoundTo& b : o.bindings) by_target[b.object].push_back(o.path);
  std::string out;
  for (const auto& [target, objects] : by_target)
    out += objects.size() == 1
               ? fmt::format("malloc of {} leads to {}\n", printable(base_name(objects.front())),
                             printable(target))
               : fmt::format("malloc of {} objects leads to {}\n", objects.size(), printable(target));
  return out.empty() ? out : "\n" + out;
}

}  // namespace

std::string library_path() {
  namespace fs = std::filesystem;
  std::error_code none;
  const fs::path here = fs::read_symlink("/proc/self/exe", none).parent_path();
  // Beside it in a build, where it was installed relative to it, so that a tree may be moved, and where it
  // was configured to go.
  const fs::path library_dir = MALLARD_LIBDIR;
  for (const fs::path& path :
       {here / "libmallard.so", here / library_dir.lexically_relative(MALLARD_BINDIR) / "libmallard.so",
        library_dir / "libmallard.so"})
    if (fs::exists(path, none)) return fs::weakly_canonical(path, none).string();
  return "libmallard.so";
}

Severity CheckResult::worst() const {
  Severity worst = Severity::kNote;
  for (const ObjectReport& o : objects)
    for (const Finding& f : o.findings) worst = std::max(worst, f.severity);
  return worst;
}

std::string CheckResult::verdict() const {
  const bool loaded = process && !process->mallard_path.empty();
  std::string who = process ? fmt::format("'{}' (pid {})", name, process->pid) : fmt::format("'{}'", name);
  if (process && !loaded) who += " if it is started with it";
  const Severity severity = worst();
  if (severity == Severity::kNote)
    return fmt::format("mallard {} every malloc of {}{}", loaded ? "sees" : "will see", who,
                       runtime_words(*this));
  const ObjectReport* object = nullptr;
  const Finding* f = first_of(*this, severity, &object);
  const std::string subject = object->path == program ? "it" : fmt::format("'{}'", base_name(object->path));
  return fmt::format("mallard {} {} malloc of {}: {} {}", loaded ? "does not see" : "will not see",
                     severity == Severity::kAll ? "any" : "every", who, subject, f->text);
}

std::string CheckResult::next_step() const {
  const ObjectReport* object = nullptr;
  for (Severity severity : {Severity::kAll, Severity::kPart})
    if (const Finding* f = first_of(*this, severity, &object)) {
      if (!f->next.empty()) return f->next;
      return severity == Severity::kAll ? "make the program run without mallard first"
                                        : "see the findings above";
    }
  if (process && !process->mallard_path.empty()) return how_to_ask(process->pid);
  if (process)
    return fmt::format(
        "mallard inspect {0} says where its memory is, mallard attach {0} who allocates from then on; all of "
        "it takes a "
        "new start: mallard run -- {1}",
        process->pid, program);
  return fmt::format("LD_PRELOAD={} {}", library_path(), target);
}

std::string as_text(const CheckResult& r) {
  std::string out = printable(r.verdict()) + "\n";
  for (const std::string& line : r.scripts) out += fmt::format("\n{}", printable(line));
  if (!r.scripts.empty()) out += "\n";
  std::size_t quiet = 0;
  for (const ObjectReport& o : r.objects) {
    if (o.findings.empty() && &o != &r.objects.front()) {
      ++quiet;
      continue;
    }
    out += fmt::format("\n{}\n", printable(o.path));
    if (o.findings.empty()) out += "  nothing in the way\n";
    for (const Finding& f : o.findings) {
      out += fmt::format("  {}: {}\n", words_of(f.severity).text, printable(f.text));
      if (!f.next.empty()) out += fmt::format("    hint: {}\n", printable(f.next));
    }
  }
  if (quiet > 0)
    out += fmt::format("\n{} other loaded object{}: nothing in the way\n", quiet, quiet == 1 ? "" : "s");
  if (r.process)
    out += r.process->mallard_path.empty()
               ? fmt::format("\nlibmallard.so is not loaded in process {}\n", r.process->pid)
               : fmt::format("\nlibmallard.so is loaded: {}\n", printable(r.process->mallard_path));
  else if (r.worst() != Severity::kAll)
    out += "\nWhat the program loads later by dlopen cannot be told from its file; check the process then.\n";
  out += where_malloc_leads(r);
  if (r.process && !r.process->notices.empty()) {
    out += "\nwhat the library had to say:\n";
    for (const std::string& line : r.process->notices) out += fmt::format("  {}\n", printable(line));
  }
  return out + fmt::format("\nnext step: {}\n", printable(r.next_step()));
}

std::string as_json(const CheckResult& r) {
  ordered_json j = {{"schema_version", kSchemaVersion},
                    {"target", r.target},
                    {"program", r.program},
                    {"verdict", {{"sees", words_of(r.worst()).sees}, {"text", r.verdict()}}}};
  if (r.process) {
    j["process"] = {{"pid", r.process->pid}, {"mallard_loaded", !r.process->mallard_path.empty()}};
    if (!r.process->mallard_path.empty()) {
      j["process"]["mallard_path"] = r.process->mallard_path;
      j["process"]["notices"] = r.process->notices;
    }
  }
  j["scripts"] = r.scripts;
  j["objects"] = ordered_json::array();
  for (const ObjectReport& o : r.objects) {
    ordered_json findings = ordered_json::array();
    for (const Finding& f : o.findings) {
      ordered_json& finding = findings.emplace_back(ordered_json{
          {"id", f.id}, {"sees", words_of(f.severity).sees}, {"text", f.text}, {"hint", f.next}});
      if (!f.allocator.empty())
        finding["allocator"] = {
            {"name", f.allocator}, {"version", or_null(f.version)}, {"recognised_by", f.recognised_by}};
    }
    ordered_json bindings = ordered_json::array();
    for (const BoundTo& b : o.bindings)
      bindings.push_back({{"object", b.object}, {"references", b.references}});
    j["objects"].push_back({{"path", o.path},
                            {"malloc_from", or_null(o.malloc_from)},
                            {"bindings", bindings},
                            {"findings", findings}});
  }
  j["next_step"] = r.next_step();
  // Paths are bytes; what is no UTF-8 becomes U+FFFD.
  return j.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace mallard::cli
