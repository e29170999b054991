// SPDX-License-Identifier: Apache-2.0
// JSON from files that nobody vouches for.
#pragma once

#include <nlohmann/json.hpp>
#include <cstdint>
#include <string>

namespace mallard::cli {

/// Objects keep the order of the report.
using Json = nlohmann::ordered_json;

/// All of a file, or of standard input for "-". \throws Error (kUnreadable)
std::string read_input(const std::string& path);

/// Parses it within bounds: how deep it nests and how much of it there is.
/// \param path  for messages \throws Error (kUnreadable) that says where it breaks off
Json parse_json(const std::string& text, const std::string& path);

/// Numbers of any JSON kind that fit; nlohmann's own conversion of large floats is undefined.
/// \throws Error (kUnreadable) that names the field
std::uint64_t unsigned_of(const Json& object, const char* field);
/// An address as reports write it, "0x7f...". \throws Error (kUnreadable)
std::uint64_t address_of(const Json& object, const char* field);

}  // namespace mallard::cli
