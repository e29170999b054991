// SPDX-License-Identifier: Apache-2.0
// Both books of a block that is about to be moved: it comes off them first, so that an address which another
// thread gets at once is never there twice.
#pragma once

#include "record/exact/exact.hpp"
#include "record/record.hpp"

namespace mallard::record {

/// What the books had of it.
struct Unbooked {
  LiveBlock sample{};
  ExactBlock exact{};
  bool was_sample = false, was_exact = false;
};

/// \param p  may be null \param exactly  says whether it is to come off the exact books (kUnbooksExactly):
/// asked last \context hot (slow path)
template <class Exactly>
inline Unbooked unbook(void* p, Exactly exactly) noexcept {
  Unbooked out;
  out.was_sample = p && may_be_tracked(p) && on_move(p, &out.sample);
  out.was_exact = p && exactly();
  if (out.was_exact) out.exact = exact_free(p);
  return out;
}

/// It was not moved. \context hot (slow path)
inline void book_again(void* p, const Unbooked& before) noexcept {
  if (before.was_sample) on_move_failed(before.sample);
  if (before.was_exact) exact_restore(p, before.exact);
}

}  // namespace mallard::record
