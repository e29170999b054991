// SPDX-License-Identifier: Apache-2.0
// Where a report goes: the names from ALLOC_REPORT, created exclusively, mode 0600, never through a link.
#pragma once

#include "base/text.hpp"
#include "report/model/model.hpp"

namespace mallard::report {

/// Expands %e, %p, %n, %t and %% of a pattern. Characters of the executable's name that a path must not have
/// become '_'. \return false if an unknown %x occurs (it is kept as it is)
bool expand_pattern(std::string_view pattern, const ProcessFacts& process, int number,
                    TextBuffer& to) noexcept;

/// Writes both files and says on stderr where. Numbers that exist already are skipped; where the directory
/// cannot be written, $TMPDIR and then /tmp are tried.
/// \param last_number  the last running number of this process; updated
/// \param where  gets their path, without extension, if it is not nullptr
/// \return false if nothing could be written (said on stderr; partial files are removed)
bool write_files(Snapshot& snapshot, int* last_number, TextBuffer* where = nullptr) noexcept;

}  // namespace mallard::report
