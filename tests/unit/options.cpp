// SPDX-License-Identifier: Apache-2.0
#include "base/nearest.hpp"
#include "base/options.hpp"

#include <signal.h>

#include <string>
#include <vector>

#include "tests/unit/catch.hpp"

using mallard::Options;

static Options read(std::vector<std::string> variables, bool expect_good) {
  std::vector<char*> environment;
  for (std::string& v : variables) environment.push_back(v.data());
  environment.push_back(nullptr);
  Options options;
  REQUIRE(mallard::read_options(environment.data(), &options) == expect_good);
  return options;
}

TEST_CASE("options: defaults are those of the table") {
  const Options o = read({"PATH=/bin"}, true);
  REQUIRE(std::string(o.backend) == "next");
  REQUIRE(o.sample_bytes == 524288);
  REQUIRE(o.signal == SIGUSR2);
  REQUIRE(std::string(o.report) == "mallard.%e.%p.%n");
  REQUIRE_FALSE(o.at_exit);
}

TEST_CASE("options: intervals") {
  REQUIRE(read({}, true).interval.ns == 0);
  for (const auto& [text, ns] : std::vector<std::pair<std::string, std::uint64_t>>{
           {"0", 0}, {"10ms", 10'000'000}, {"10", 10'000'000'000}, {"10s", 10'000'000'000}, {"5m", 300'000'000'000},
           {"2h", 7'200'000'000'000}})
    REQUIRE(read({"ALLOC_INTERVAL=" + text}, true).interval.ns == ns);
  for (const std::string bad : {"9ms", "1d", "s", "-1s", "1.5s", "9000h", "99999999999999999999s", "18446744073709552s"})
    REQUIRE(read({"ALLOC_INTERVAL=" + bad}, false).interval.ns == 0);
}

TEST_CASE("options: good values are taken") {
  const Options o = read({"ALLOC_BACKEND=jemalloc", "ALLOC_SAMPLE_BYTES=64K", "ALLOC_SIGNAL=usr1",
                          "ALLOC_REPORT=/x/%p", "ALLOC_AT_EXIT=1", "ALLOC_MODE=off", "TMPDIR=/var/tmp"}, true);
  REQUIRE(std::string(o.backend) == "jemalloc");
  REQUIRE(o.sample_bytes == 65536);
  REQUIRE(o.signal == SIGUSR1);
  REQUIRE(std::string(o.report) == "/x/%p");
  REQUIRE(o.at_exit);
  REQUIRE(o.mode == mallard::Mode::kOff);
  REQUIRE(std::string(o.temporary_directory) == "/var/tmp");
}

TEST_CASE("options: a bad value keeps its default and is reported") {
  REQUIRE(read({"ALLOC_SAMPLE_BYTES=many"}, false).sample_bytes == 524288);
  REQUIRE(read({"ALLOC_SAMPLE_BYTES=0"}, false).sample_bytes == 524288);
  REQUIRE(read({"ALLOC_SAMPLE_BYTES=2T"}, false).sample_bytes == 524288);
  REQUIRE(read({"ALLOC_SIGNAL=SIGKILL"}, false).signal == SIGUSR2);
  REQUIRE_FALSE(read({"ALLOC_AT_EXIT=yes"}, false).at_exit);
  REQUIRE(read({"ALLOC_MODE=everything"}, false).mode == mallard::Mode::kSample);
  REQUIRE(std::string(read({"ALLOC_BACKEND=" + std::string(2000, 'x')}, false).backend) == "next");
}

TEST_CASE("options: an empty value means the default") {
  REQUIRE(std::string(read({"ALLOC_BACKEND="}, true).backend) == "next");
}

TEST_CASE("options: signals by name and number") {
  using mallard::parse_signal;
  REQUIRE(parse_signal("none") == 0);
  REQUIRE(parse_signal("SIGUSR2") == SIGUSR2);
  REQUIRE(parse_signal("usr1") == SIGUSR1);
  REQUIRE(parse_signal("12") == 12);
  REQUIRE(parse_signal("SIGRTMIN+3") == SIGRTMIN + 3);
  REQUIRE(parse_signal("RTMAX-1") == SIGRTMAX - 1);
  for (const char* bad : {"", "9", "19", "32", "65", "268", "SIG", "SIGFOO", "12x", "RTMIN+31", "RTMIN-1", "-1"}) {
    CAPTURE(bad);
    REQUIRE(parse_signal(bad) == -1);
  }
}

TEST_CASE("options: a variable is found by its whole name") {
  char a[] = "ALLOC_BACKENDS=x", b[] = "ALLOC_BACKEND=y";
  char* environment[] = {a, b, nullptr};
  REQUIRE(std::string(mallard::find_variable(environment, "ALLOC_BACKEND")) == "y");
  REQUIRE(mallard::find_variable(environment, "ALLOC") == nullptr);
  REQUIRE(mallard::find_variable(nullptr, "ALLOC") == nullptr);
}

TEST_CASE("options: a misspelt word leads to the nearest known one, and a strange one to none") {
  using mallard::letters_apart, mallard::nearest;
  REQUIRE(letters_apart("dump", "dump") == 0);
  REQUIRE(letters_apart("dmup", "dump") == 1);
  REQUIRE(letters_apart("dum", "dump") == 1);
  REQUIRE(letters_apart("", "dump") == 4);
  REQUIRE(letters_apart("kitten", "sitting") == 3);
  REQUIRE(letters_apart(std::string(41, 'a'), std::string(41, 'a')) > 40);
  const std::string_view known[] = {"dump", "report", "SAMPLE_BYTES"};
  REQUIRE(nearest("dmup", known) == "dump");
  REQUIRE(nearest("reprot", known) == "report");
  REQUIRE(nearest("SAMPLE", known) == "SAMPLE_BYTES");
  REQUIRE(nearest("SAM", known).empty());
  REQUIRE(nearest("jump_over", known).empty());
  REQUIRE(nearest("", known).empty());
}
