// SPDX-License-Identifier: Apache-2.0
// The report for programs: docs/report-format.md describes every field.
#pragma once

#include "report/model/model.hpp"
#include "report/write/sink.hpp"

namespace mallard::report {

void write_json(const Snapshot& snapshot, Sink& to) noexcept;

}  // namespace mallard::report
