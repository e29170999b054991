// SPDX-License-Identifier: Apache-2.0
// The request line that a process under control reads from its socket.
#include "base/control_protocol.hpp"
#include "tests/fuzz/input.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mallard::ControlRequest request{};
  const char* why_not = nullptr;
  const bool good = mallard::parse_control({reinterpret_cast<const char*>(data), size}, &request, &why_not);
  if (!good && !why_not) std::abort();  // every refusal says why
  return 0;
}
