# SPDX-License-Identifier: Apache-2.0
"""The checks of sizes and comments read C++ by its braces: what they take for a function, and for a comment."""
from __future__ import annotations

import pytest

from check_comments import fragments
from cxx_text import comments_of, functions_of

SOURCE = """\
#define LOOP for (;;) {
namespace mallard {
struct Point { int x = 0; int y{1}; };
struct Point origin() noexcept {
  return {};
}
enum class Kind : unsigned { kOne, kTwo };
constexpr int kTable[] = {1, 2, 3};
extern "C" {
int from_c(int a) { return a; }
}
Reader::Reader(int fd) noexcept
    : fd_{fd}, name_("{"), limits_{1, 2} {
  if (fd < 0) {
    auto lambda = [&](char c) { return c == '}'; };
    lambda('{');
  }
}
template <typename T>
auto sum(const T& values) -> decltype(values[0]) {
  /* } */ return 1'000'000;  // }
}
bool operator==(const Point& a, const Point& b) { return a.x == b.x; }
const char* text() { return R"x(} )" } )x"; }
const auto kCompare = [](int a, int b) {
  return a < b;
};
}  // namespace mallard
"""


def test_functions_are_found_with_their_lines() -> None:
    found = [(f.name, f.first, f.last) for f in functions_of(SOURCE)]
    assert found == [("origin", 4, 6), ("from_c", 10, 10), ("Reader::Reader", 12, 18), ("sum", 19, 22),
                     ("operator==", 23, 23), ("text", 24, 24), ("lambda", 25, 27)]


def test_comments_are_those_on_lines_of_their_own() -> None:
    source = "// One,\n// two.\nint a;  // not this\n/// Three.\n/* Four\n * five */\n"
    assert sorted(comments_of(source)) == [(1, "One,\ntwo."), (4, "Three."), (5, "Four\nfive")]


@pytest.mark.parametrize("text", ["Of a site; at the index of its id.", "Reads it. The same, for two.", "Likewise of it.",
                                  "The same without a lock.", "Whose memory it is.", "must not be read", "As above."])
def test_fragments_are_found(text: str) -> None:
    assert len(list(fragments(text))) == 1


@pytest.mark.parametrize("text", ["Heads of the lists, indexed by site id.", "The same process gives the same start.",
                                  "glibc keeps it.", "calls_per_site counts them.", "Which of two is it?",
                                  "SPDX-License-Identifier: Apache-2.0", "---- reading", "It is of use. Officially so."])
def test_whole_sentences_are_none(text: str) -> None:
    assert list(fragments(text)) == []
