// SPDX-License-Identifier: Apache-2.0
// The tables of call sites in the text report.
#pragma once

#include "report/model.hpp"
#include "report/sink.hpp"

namespace mallard::report {

void write_sites_by_resident(const Snapshot& snapshot, Sink& to) noexcept;
void write_sites_by_live(const Snapshot& snapshot, Sink& to) noexcept;
void write_sites_by_allocated(const Snapshot& snapshot, Sink& to) noexcept;

}  // namespace mallard::report
