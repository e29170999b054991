// SPDX-License-Identifier: Apache-2.0
// Requests of the control channel, well-formed and not.
#include "base/control_protocol.hpp"

#include <cstring>
#include <random>
#include <string>

#include "tests/unit/catch.hpp"

using namespace mallard;

namespace {

/// The request, written out again; or why it is none.
std::string parsed(std::string_view line) {
  ControlRequest r{};
  const char* why_not = "";
  if (!parse_control(line, &r, &why_not)) return std::string("no: ") + why_not;
  if (r.verb == ControlVerb::kPurge) return "purge";
  if (r.timing != Timing::kAsItIs)
    return "mode " + std::string(r.timing == Timing::kBegins ? kBeginTiming : kEndTiming);
  return r.switches ? "mode " + std::string(mode_name(r.mode)) : "mode";
}

}  // namespace

TEST_CASE("requests of the control channel") {
  for (const char* request :
       {"mode", "mode sample", "mode exact", "mode off", "mode latency", "mode latency=off", "purge"})
    CHECK(parsed("mallard 1 " + std::string(request) + "\n") == request);
}

TEST_CASE("what is no request is refused with a reason") {
  const std::string version = "no: the request is not one of this version of mallard",
                    words =
                        "no: the request is not mode, mode sample, mode exact, mode off, mode latency, "
                        "mode latency=off or purge";
  for (const char* line :
       {"", "\n", "mode\n", "mallard 2 mode\n", "mallard 1\n", "MALLARD 1 mode\n", " mallard 1 mode\n"})
    CHECK(parsed(line) == version);
  for (const char* line :
       {"mallard 1 ", "mallard 1 \n", "mallard 1 mode", "mallard 1 mode \n", "mallard 1 mode  off\n",
        "mallard 1 mode Exact\n", "mallard 1 mode exactly\n", "mallard 1 mode off \n", "mallard 1 purge\n\n",
        "mallard 1 purge all\n", "mallard 1 modeoff\n", "mallard 1 purge\r\n", "mallard 1 mode offoff\n",
        "mallard 1 mode latency=on\n", "mallard 1 mode latency off\n"})
    CHECK(parsed(line) == words);
  CHECK(parsed(std::string_view("mallard 1 mode\0\n", 16)) == words);
}

TEST_CASE("random and damaged requests are refused or are requests") {
  std::mt19937 random(7);
  const std::string good[] = {"mallard 1 mode exact\n", "mallard 1 purge\n", "mallard 1 mode\n"};
  int refused = 0, taken = 0;
  for (int i = 0; i < 200000; ++i) {
    std::string line = good[random() % 3];
    if (i % 4 == 0) {
      line.resize(random() % kMaxControlRequest);
      for (char& c : line) c = static_cast<char>(random());
    } else {
      for (auto n = random() % 3; n > 0; --n) line[random() % line.size()] = static_cast<char>(random());
    }
    const std::string result = parsed(line);
    if (result.rfind("no: ", 0) == 0) ++refused;
    else ++taken;
    if (result.rfind("no: ", 0) != 0) CHECK("mallard 1 " + result + "\n" == line);
  }
  CHECK(refused > 100000);
  CHECK(taken > 10000);
}

TEST_CASE("directories in which a control socket may lie") {
  Options options;
  const auto nth = [&](int i) {
    const char* directory = control_directory(options, i);
    return std::string(directory ? directory : "none");
  };
  CHECK(nth(0) == "/tmp");
  CHECK(nth(1) == "/dev/shm");
  CHECK(nth(2) == "none");
  std::strcpy(options.temporary_directory, "/var/tmp");
  CHECK(nth(0) == "/var/tmp");
  CHECK(nth(1) == "/tmp");
  CHECK(nth(3) == "none");
  std::strcpy(options.temporary_directory, "relative");
  CHECK(nth(0) == "/tmp");
  std::strcpy(options.temporary_directory, ("/" + std::string(100, 'x')).c_str());  // too long for an address
  CHECK(nth(0) == "/tmp");
  FixedText<64> name;
  add_control_name(name, 4711, 0xbeef);
  CHECK(std::string(name.view()) == "mallard-4711-0000beef");
}
