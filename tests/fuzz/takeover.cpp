// SPDX-License-Identifier: Apache-2.0
// What the library itself reads of a hostile executable before main: whether its allocator can be taken over.
// What it would do on the strength of it is held against the file.
#include "inside/plan.hpp"

#include <cstring>

#include "elf/program_file.hpp"
#include "tests/fuzz/input.hpp"

using namespace mallard;
using namespace mallard::inside;

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

/// Each jump overwrites code of the file, as it was read, and none overlaps another.
void hold_against_the_file(const TakeoverPlan& plan, int fd) {
  elf::ProgramFile file;
  const char* why = nullptr;
  require(file.read(fd, &why));
  require(plan.count <= kMaxTakeoverEntries);
  for (std::size_t i = 0; i < plan.count; ++i) {
    const TakeoverEntry& e = plan.entries[i];
    unsigned char bytes[sizeof e.bytes];
    require(e.displaced == 0 || e.displaced >= kJumpBytes);
    require(e.displaced <= sizeof bytes && file.image().is_code(e.address, e.displaced));
    require(file.image().read_address(e.address, bytes, e.displaced));
    require(std::memcmp(bytes, e.bytes, e.displaced) == 0);
    require(!e.target.empty() && plan.has_kind[static_cast<std::size_t>(e.kind)]);
    for (std::size_t j = 0; j < i; ++j) {
      const std::uint64_t other = plan.entries[j].address;
      require(other < e.address ? e.address - other >= plan.entries[j].displaced : other - e.address >= e.displaced);
    }
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const fuzz::InputFile kInput;
  static auto* const plan = new TakeoverPlan;
  kInput.set(data, size);
  for (const EmbeddedAction action : {EmbeddedAction::kRedirect, EmbeddedAction::kObserve}) {
    plan_takeover(kInput.fd(), action, plan);
    if (plan->answer == TakeoverAnswer::kPossible) hold_against_the_file(*plan, kInput.fd());
    if (plan->answer == TakeoverAnswer::kRefused) require(plan->why.size() > 0);  // every refusal says why
  }
  return 0;
}
