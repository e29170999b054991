// SPDX-License-Identifier: Apache-2.0
#include "record/interval_list.hpp"

#include <string.h>

namespace mallard::record {

IntervalList::Position IntervalList::next(Position p) const noexcept {
  return p.item + 1 < order_[p.place].count ? Position{p.place, p.item + 1} : Position{p.place + 1, 0};
}

IntervalList::Position IntervalList::find(std::uintptr_t address) noexcept {
  std::uint32_t low = 0, high = used_;
  while (low < high) {
    const std::uint32_t middle = (low + high) / 2;
    if (leaf(middle).items[order_[middle].count - 1].end <= address) low = middle + 1;
    else high = middle;
  }
  if (low == used_) return {used_, 0};
  const Position found{low, 0};
  const MappedInterval* items = leaf(low).items;
  for (low = 0, high = order_[found.place].count; low < high;) {
    const std::uint32_t middle = (low + high) / 2;
    if (items[middle].end <= address) low = middle + 1;
    else high = middle;
  }
  return {found.place, low};
}

bool IntervalList::new_leaf(std::uint32_t place) noexcept {
  if (used_ == made_) {
    if (made_ == kLeaves || (made_ >= leaves_.first_count() && !leaves_ && !leaves_.init()) ||
        !leaves_.open(made_ + 1))
      return false;
    order_[made_].leaf = static_cast<std::uint16_t>(made_);
    ++made_;
  }
  const Place fresh{order_[used_].leaf, 0};
  memmove(&order_[place + 1], &order_[place], (used_ - place) * sizeof(Place));
  order_[place] = fresh;
  ++used_;
  return true;
}

void IntervalList::drop_leaf(std::uint32_t place) noexcept {
  const Place dropped = order_[place];
  --used_;
  memmove(&order_[place], &order_[place + 1], (used_ - place) * sizeof(Place));
  order_[used_] = dropped;
}

bool IntervalList::split_leaf(std::uint32_t place) noexcept {
  if (!new_leaf(place + 1)) return false;
  constexpr std::uint16_t kHalf = kItems / 2;
  memcpy(leaf(place + 1).items, leaf(place).items + kHalf, (kItems - kHalf) * sizeof(MappedInterval));
  order_[place].count = kHalf;
  order_[place + 1].count = kItems - kHalf;
  return true;
}

void IntervalList::join_with_next(std::uint32_t place) noexcept {
  if (place + 1 >= used_) return;
  const std::uint32_t mine = order_[place].count, others = order_[place + 1].count;
  if (mine + others > kFew) return;
  memcpy(leaf(place).items + mine, leaf(place + 1).items, others * sizeof(MappedInterval));
  order_[place].count = static_cast<std::uint16_t>(mine + others);
  drop_leaf(place + 1);
}

bool IntervalList::insert_before(Position p, const MappedInterval& interval) noexcept {
  if (at_end(p) && used_ > 0) p = {used_ - 1, order_[used_ - 1].count};
  if (used_ == 0 || order_[p.place].count == kItems) {
    // Programs map downwards or upwards: a full leaf at either end gets a neighbour instead of being halved.
    if (used_ == 0 || p.item == 0 || p.item == kItems) {
      if (p.item == kItems) p = {p.place + 1, 0};
      if (!new_leaf(p.place)) return false;
    } else {
      if (!split_leaf(p.place)) return false;
      if (p.item > order_[p.place].count) p = {p.place + 1, p.item - order_[p.place].count};
    }
  }
  MappedInterval* items = leaf(p.place).items;
  memmove(&items[p.item + 1], &items[p.item], (order_[p.place].count - p.item) * sizeof *items);
  items[p.item] = interval;
  ++order_[p.place].count;
  return true;
}

IntervalList::Position IntervalList::remove(Position p) noexcept {
  MappedInterval* items = leaf(p.place).items;
  const std::uint32_t left = --order_[p.place].count;
  memmove(&items[p.item], &items[p.item + 1], (left - p.item) * sizeof *items);
  if (left == 0) {
    drop_leaf(p.place);
    return {p.place, 0};
  }
  join_with_next(p.place);
  return p.item < order_[p.place].count ? p : Position{p.place + 1, 0};
}

bool IntervalList::erase(std::uintptr_t begin, std::uintptr_t end, RemovedMappings* removed) noexcept {
  for (Position p = find(begin); !at_end(p) && at(p).begin < end;) {
    MappedInterval& here = at(p);
    if (removed && removed->count++ < RemovedMappings::kMost)
      removed->intervals[removed->count - 1] = {here.begin > begin ? here.begin : begin,
                                                here.end < end ? here.end : end, here.caller};
    if (here.end > end) {
      if (here.begin >= begin) {
        here.begin = end;
        return true;
      }
      const MappedInterval behind{end, here.end, here.caller};
      here.end = begin;
      return insert_before({p.place, p.item + 1}, behind);
    }
    if (here.begin >= begin) {
      p = remove(p);
    } else {
      here.end = begin;
      p = next(p);
    }
  }
  return true;
}

bool IntervalList::insert(const MappedInterval& interval) noexcept {
  const bool cut_well = erase(interval.begin, interval.end, nullptr);
  Position p = find(interval.begin - 1);
  if (!at_end(p) && at(p).end == interval.begin) {
    MappedInterval& before = at(p);
    const Position after = next(p);
    if (before.caller == interval.caller) {
      before.end = interval.end;
      if (!at_end(after) && at(after).begin == interval.end && at(after).caller == interval.caller) {
        before.end = at(after).end;
        remove(after);
      }
      return cut_well;
    }
    p = after;
  }
  if (!at_end(p) && at(p).begin == interval.end && at(p).caller == interval.caller) {
    at(p).begin = interval.begin;
    return cut_well;
  }
  return insert_before(p, interval) && cut_well;
}

std::uint32_t IntervalList::copy(std::uintptr_t from, MappedInterval* to, std::uint32_t room) noexcept {
  std::uint32_t copied = 0;
  for (Position p = find(from); !at_end(p) && copied < room; p = next(p)) to[copied++] = at(p);
  return copied;
}

bool IntervalList::adopt(const OtherParts& parts) noexcept {
  alignas(IntervalList) char copy[sizeof(IntervalList)];
  if (!parts.copy_of(*this, copy)) return false;
  IntervalList& theirs = *reinterpret_cast<IntervalList*>(copy);
  used_ = made_ = 0;
  if (theirs.used_ > kLeaves) return false;
  for (std::uint32_t place = 0; place < theirs.used_; ++place) {
    const std::uint32_t number = theirs.order_[place].leaf;
    const std::uint32_t count = theirs.order_[place].count;
    if (number >= kLeaves || count > kItems) continue;
    Leaf read = {};
    if (number < leaves_.first_count()) read = theirs.leaves_.first()[number];
    else if (!parts.process().copy(&read, address_of(theirs.leaves_.data()) + number * sizeof(Leaf),
                                   sizeof read))
      return false;
    for (std::uint32_t i = 0; i < count; ++i)
      if (read.items[i].begin != 0 && read.items[i].begin < read.items[i].end && !insert(read.items[i]))
        return false;
  }
  return true;
}

std::uint64_t IntervalList::own_bytes() noexcept { return leaves_.resident_bytes(made_); }

}  // namespace mallard::record
