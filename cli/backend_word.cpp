// SPDX-License-Identifier: Apache-2.0
#include "cli/backend_word.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>

#include "base/backend_names.hpp"
#include "cli/error.hpp"

namespace mallard::cli {

void check_backend(const std::string& backend, const std::string& what) {
  if (backend.find('/') != backend.npos) {
    if (access(backend.c_str(), R_OK) == 0) return;
    throw Error(kUsage, fmt::format("{} '{}' cannot be read: {}", what, backend, std::strerror(errno)),
                "give the path of a shared object that defines malloc");
  }
  if (std::find(std::begin(kBackendNames), std::end(kBackendNames), backend) == std::end(kBackendNames))
    throw Error(kUsage, fmt::format("{} '{}' is no backend", what, backend), kBackendsInWords);
}

}  // namespace mallard::cli
