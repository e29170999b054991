// SPDX-License-Identifier: Apache-2.0
#include "cli/check/libraries.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <set>

#include "arch/elf.hpp"
#include "cli/error.hpp"
#include "cli/file.hpp"
#include "elf/image.hpp"

namespace mallard::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxLibraries = 4096;
constexpr const char* kDefaultDirectories[] = {
    "/lib/" MALLARD_LIBRARY_FOLDER, "/usr/lib/" MALLARD_LIBRARY_FOLDER, "/lib64", "/usr/lib64", "/lib", "/usr/lib"};

/// Name -> path, from /etc/ld.so.cache in its present format ("glibc-ld.so.cache1.1", see glibc's
/// dl-cache.h). Empty if there is none or it is damaged.
std::map<std::string, std::string> read_cache() {
  struct Header {
    char magic[20];
    std::uint32_t count, strings_bytes, reserved[5];
  };
  struct Entry {
    std::int32_t flags;
    std::uint32_t name, path, version;
    std::uint64_t hardware;
  };
  static_assert(sizeof(Header) == 48 && sizeof(Entry) == 24);
  std::map<std::string, std::string> paths;
  std::string cache;
  if (!read_whole("/etc/ld.so.cache", &cache)) return paths;
  const std::size_t start = cache.find("glibc-ld.so.cache1.1");  // an older format may stand before it
  if (start == cache.npos || cache.size() - start < sizeof(Header)) return paths;
  Header header;
  std::memcpy(&header, cache.data() + start, sizeof header);
  if (header.count > (cache.size() - start - sizeof header) / sizeof(Entry)) return paths;
  const auto text = [&](std::uint32_t at) {
    return at < cache.size() - start ? std::string(cache.c_str() + start + at) : std::string();
  };
  for (std::uint32_t i = 0; i < header.count; ++i) {
    Entry entry;
    std::memcpy(&entry, cache.data() + start + sizeof header + i * sizeof entry, sizeof entry);
    if (entry.flags != arch::kLoaderCacheKind) continue;
    // The plain variant stands for those that are built for newer processors.
    if (entry.hardware == 0) paths[text(entry.name)] = text(entry.path);
    else paths.try_emplace(text(entry.name), text(entry.path));
  }
  return paths;
}

std::string expand(std::string text, const fs::path& origin) {
  const std::pair<const char*, std::string> words[] = {
      {"ORIGIN", origin.string()}, {"LIB", "lib/" MALLARD_LIBRARY_FOLDER}, {"PLATFORM", arch::kPlatform}};
  for (const auto& [word, value] : words)
    for (const std::string& form : {fmt::format("${{{}}}", word), fmt::format("${}", word)})
      for (std::size_t at = 0; (at = text.find(form, at)) != text.npos; at += value.size())
        text.replace(at, form.size(), value);
  return text;
}

class Search {
 public:
  explicit Search(const ElfFile& program) : cache_(read_cache()) {
    if (const char* list = std::getenv("LD_LIBRARY_PATH")) environment_ = split_path(list, ":;");
    objects_.push_back({&program, 0});
    // Libraries that need each other lead back to it.
    std::error_code none;
    files_.insert(fs::weakly_canonical(program.path, none).string());
    if (!program.soname.empty()) names_.insert(program.soname);
  }

  Libraries run() {
    // The queue grows while it is walked; reserve() keeps the pointers into it.
    found_.loaded.reserve(kMaxLibraries);
    for (std::size_t i = 0; i < objects_.size(); ++i)
      for (const std::string& name : objects_[i].file->needed) find_needed(name, i);
    return std::move(found_);
  }

 private:
  struct Object {
    const ElfFile* file;
    std::size_t parent;
  };

  void find_needed(const std::string& name, std::size_t by) {
    if (found_.loaded.size() == kMaxLibraries || !names_.insert(name).second) return;
    const std::string path = find(name, by);
    const ElfFile& parent = *objects_[by].file;
    if (path.empty()) {
      found_.missing.push_back({name, parent.path});
      return;
    }
    std::error_code none;
    if (!files_.insert(fs::weakly_canonical(path, none).string()).second) return;
    try {
      found_.loaded.push_back(read_elf(path, path));
    } catch (const Error& e) {
      found_.unreadable.push_back({path, e.what()});
      return;
    }
    if (!found_.loaded.back().soname.empty()) names_.insert(found_.loaded.back().soname);
    objects_.push_back({&found_.loaded.back(), by});
  }

  /// A file of the right kind; ld.so passes over others. One that is not ours to read is taken for one.
  static bool fits(const std::string& path) {
    std::error_code none;
    if (!fs::is_regular_file(path, none)) return false;
    elf::Image image;
    return !image.open(path.c_str()) || image.parse() != elf::Fault::kNoProgram;
  }

  std::string find(const std::string& name, std::size_t by) const {
    const fs::path origin = directory_of(*objects_[by].file);
    if (name.find('/') != name.npos) {
      const std::string path = expand(name, origin);
      return fits(path) ? path : std::string();
    }
    std::vector<std::string> directories;
    const auto add = [&](const std::vector<std::string>& list, const fs::path& from) {
      for (const std::string& d : list) directories.push_back(expand(d, from));
    };
    if (objects_[by].file->runpath.empty())  // RPATH of those that loaded it counts too
      for (std::size_t i = by;; i = objects_[i].parent) {
        if (objects_[i].file->runpath.empty()) add(objects_[i].file->rpath, directory_of(*objects_[i].file));
        if (i == 0) break;
      }
    add(environment_, origin);
    add(objects_[by].file->runpath, origin);
    for (const std::string& d : directories)
      if (const std::string path = d + "/" + name; fits(path)) return path;
    if (const auto cached = cache_.find(name); cached != cache_.end() && fits(cached->second))
      return cached->second;
    for (const char* d : kDefaultDirectories)
      if (const std::string path = std::string(d) + "/" + name; fits(path)) return path;
    return {};
  }

  static fs::path directory_of(const ElfFile& file) {
    std::error_code none;
    return fs::weakly_canonical(file.path, none).parent_path();
  }

  std::map<std::string, std::string> cache_;
  std::vector<std::string> environment_;
  std::vector<Object> objects_;
  std::set<std::string> names_, files_;
  Libraries found_;
};

}  // namespace

Libraries find_libraries(const ElfFile& program) { return Search(program).run(); }

}  // namespace mallard::cli
