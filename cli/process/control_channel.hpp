// SPDX-License-Identifier: Apache-2.0
// The command's end of the control channel (docs/control.md): a socket in a private directory that the
// process can see, one request line, one answer line.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "cli/process/target.hpp"

namespace mallard::cli {

struct ControlAnswer {
  std::string text;  ///< the line that the process sent, without its newline
  nlohmann::json json;
  bool done() const { return json.value("done", false); }
  std::string why_not() const { return json.value("why_not", std::string("no reason given")); }
};

/// Asks the process; the socket and its directory are gone when this returns.
/// \param request  one line without its newline: "mode exact"
/// \throws Error if control is off, no socket can be made where the process sees it, or no answer comes
ControlAnswer ask_control(const Target& target, const std::string& request, double timeout_seconds);

}  // namespace mallard::cli
