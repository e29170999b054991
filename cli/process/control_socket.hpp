// SPDX-License-Identifier: Apache-2.0
// A listening socket, mode 0600, in a directory of its own, mode 0700, where a process can see it: in its
// TMPDIR, /tmp or /dev/shm, whatever mount namespace or chroot it lives in.
#pragma once

#include <cstdint>
#include <string>

#include "cli/process/target.hpp"

namespace mallard::cli {

class ControlSocket {
 public:
  /// \throws Error if none of the directories can be used
  explicit ControlSocket(const Target& target);
  ~ControlSocket();  ///< removes the socket and its directory
  ControlSocket(const ControlSocket&) = delete;
  ControlSocket& operator=(const ControlSocket&) = delete;

  int fd() const { return fd_; }
  /// What is sent with the signal, so that the process finds the socket.
  std::uint64_t signal_value() const;

 private:
  bool make_in(const Target& target, const char* directory);
  void remove();

  int fd_ = -1, directory_ = -1, above_ = -1;
  std::uint32_t number_ = 0;
  std::string name_, why_not_;
};

}  // namespace mallard::cli
