// SPDX-License-Identifier: Apache-2.0
// The lines of the tables of call sites, without their stacks.
#pragma once

#include "report/write/columns.hpp"
#include "report/write/text.hpp"

namespace mallard::report {

/// \param exact  no figure has an error
void write_columns(Table table, bool exact, Sink& to) noexcept;
/// \param total  what the share is of
void write_site_line(const SiteRow& row, Table table, bool exact, double total, Sink& to) noexcept;
/// The sizes that most of the site's blocks have; exact mode, else nothing.
/// \param by_allocation  of all blocks, else of the live ones
void write_sizes(const SiteRow& row, bool by_allocation, Sink& to) noexcept;

void add_percent(Sink& to, double part, double whole, std::size_t width) noexcept;

}  // namespace mallard::report
