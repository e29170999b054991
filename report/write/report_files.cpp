// SPDX-License-Identifier: Apache-2.0
#include "report/write/report_files.hpp"

#include <initializer_list>

#include <errno.h>
#include <fcntl.h>

#include "base/options.hpp"
#include "base/os.hpp"
#include "base/say.hpp"
#include "base/times.hpp"
#include "report/write/json.hpp"
#include "report/write/sink.hpp"
#include "report/write/text.hpp"

namespace mallard::report {
namespace {

constexpr std::size_t kPathBytes = 1536;
constexpr int kMaxNumber = 99999;
using Path = FixedText<kPathBytes>;

void add_with_extension(Path& to, std::string_view base, std::string_view extension) noexcept {
  to.clear();
  to.add(base).add(extension);
}

/// O_EXCL refuses whatever is there already, a symbolic link included.
long create(const char* path) noexcept {
  return os::open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
}

struct Pair {
  int text = -1, json = -1;
};

/// Creates both files or none. \return 0 or a negated errno
long create_pair(std::string_view base, Pair* to) noexcept {
  Path path;
  add_with_extension(path, base, ".txt");
  const long text = create(path.c_str());
  if (text < 0) return text;
  Path json_path;
  add_with_extension(json_path, base, ".json");
  const long json = create(json_path.c_str());
  if (json < 0) {
    os::close(static_cast<int>(text));
    os::call(SYS_unlink, os::arg(path.c_str()));
    return json;
  }
  *to = {static_cast<int>(text), static_cast<int>(json)};
  return 0;
}

/// Expands the pattern with the next number that is free.
long create_numbered(std::string_view pattern, const ProcessFacts& process, int first_number, Path& base,
                     Pair* files, int* number) noexcept {
  Path previous;
  for (int n = first_number; n <= kMaxNumber; ++n) {
    base.clear();
    expand_pattern(pattern, process, n, base);
    if (base.cut()) return -ENAMETOOLONG;
    const long result = create_pair(base.view(), files);
    *number = n;
    if (result != -EEXIST || base.view() == previous.view()) return result;  // no %n: nothing else to try
    previous.clear();
    previous.add(base.view());
  }
  return -EEXIST;
}

/// Fills both files. \return 0 or a negated errno
long fill(const Snapshot& snapshot, const Pair& files) noexcept {
  long error;
  {
    Sink sink(files.text);
    write_text(snapshot, {}, sink);
    error = sink.flush();
  }
  if (error == 0) {
    Sink sink(files.json);
    write_json(snapshot, sink);
    error = sink.flush();
  }
  os::close(files.text);
  os::close(files.json);
  return error;
}

void remove_pair(std::string_view base) noexcept {
  Path path;
  for (const char* extension : {".txt", ".json"}) {
    add_with_extension(path, base, view_of(extension));
    os::call(SYS_unlink, os::arg(path.c_str()));
  }
}

}  // namespace

bool expand_pattern(std::string_view pattern, const ProcessFacts& process, int number,
                    TextBuffer& to) noexcept {
  bool known = true;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%' || i + 1 == pattern.size()) {
      to.add(pattern[i]);
      continue;
    }
    switch (pattern[++i]) {
      case 'e':
        for (char c : process.name) to.add(c > ' ' && c != '/' && c != 0x7f ? c : '_');
        break;
      case 'p':
        to.add_signed(process.pid);
        break;
      case 'n':
        to.add_unsigned(static_cast<unsigned>(number), 10, 4);
        break;
      case 't':
        to.add_unsigned(process.taken_at_ns / kNsPerSecond);
        break;
      case '%':
        to.add('%');
        break;
      default:
        known = false;
        to.add('%').add(pattern[i]);
    }
  }
  return known;
}

bool write_files(Snapshot& snapshot, int* last_number, TextBuffer* where) noexcept {
  const std::string_view wanted = view_of(options().report);
  const std::string_view name = file_name_of(wanted);
  Path in_temporary, in_tmp;
  in_temporary.add(view_of(options().temporary_directory)).add('/').add(name);
  in_tmp.add("/tmp/").add(name);
  const std::string_view patterns[] = {wanted, in_temporary.view(), in_tmp.view()};
  constexpr int kPatterns = 3;
  for (int i = 0; i < kPatterns; ++i) {
    Path base;
    Pair files;
    int number = *last_number + 1;
    long error = create_numbered(patterns[i], snapshot.process, number, base, &files, &number);
    if (error == 0) {
      snapshot.number = number;
      error = fill(snapshot, files);
      if (error == 0) {
        *last_number = number;
        say::report_written(base.view());
        if (where) where->add(base.view());
        return true;
      }
      remove_pair(base.view());
    }
    const bool last = i + 1 == kPatterns || (i == 1 && in_temporary.view() == in_tmp.view());
    if (last) {
      say::report_failed(base.view(), say::error_text(error));
      return false;
    }
    say::report_elsewhere(base.view(), say::error_text(error), patterns[i + 1]);
  }
  return false;
}

}  // namespace mallard::report
