// SPDX-License-Identifier: Apache-2.0
// Members of a JSON report that may be missing, or not what they should be.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

#include "cli/report/report_json.hpp"
#include "report/model/model.hpp"

namespace mallard::cli {

/// A member, or an empty object where there is none: a report may be cut down, or lie.
inline const Json& member(const Json& object, const char* name) {
  static const Json kNone = Json::object();
  if (!object.is_object()) return kNone;
  const auto found = object.find(name);
  return found == object.end() ? kNone : *found;
}

/// Entries of an array; none where there is no array.
inline const Json& entries(const Json& object, const char* name) {
  static const Json kNone = Json::array();
  const Json& j = member(object, name);
  return j.is_array() ? j : kNone;
}

inline double decimal(const Json& object, const char* name) {
  const Json& j = member(object, name);
  return j.is_number() ? j.get<double>() : 0;
}

inline std::uint64_t number(const Json& object, const char* name) {
  const Json& j = member(object, name);
  if (j.is_number_unsigned()) return j.get<std::uint64_t>();
  const double value = decimal(object, name);
  return value > 0 && value < 1.8e19 ? static_cast<std::uint64_t>(value) : 0;
}

inline int small_number(const Json& object, const char* name) {
  return static_cast<int>(std::min<std::uint64_t>(number(object, name), 1u << 30));
}

inline bool flag(const Json& object, const char* name) {
  const Json& j = member(object, name);
  return j.is_boolean() && j.get<bool>();
}

inline report::Sharing sharing(const Json& object) {
  return {number(object, "only_ours_bytes"), number(object, "with_others_bytes")};
}

/// Nothing where the report has null, or no such field. \throws Json::exception for what is no number
inline report::Estimate estimate(const Json& object, const std::string& name) {
  const auto value = [&object](const std::string& field) -> std::optional<double> {
    const Json& j = member(object, field.c_str());
    if (j.is_null() || j.is_object()) return {};
    return j.get<double>();
  };
  const auto low = value(name + "_low"), high = value(name + "_high");
  return {value(name).value_or(0), 0, low && high, low.value_or(0), high.value_or(0)};
}

}  // namespace mallard::cli
