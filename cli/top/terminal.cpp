// SPDX-License-Identifier: Apache-2.0
#include "cli/top/terminal.hpp"

#include <fmt/format.h>
#include <langinfo.h>
#include <poll.h>
#include <unistd.h>
#include <clocale>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "cli/demangled.hpp"
#include "cli/error.hpp"
#include "cli/top/terminfo.hpp"

// Last: its macros (timeout, erase, move ...) are short words.
#define NCURSES_NOMACROS
#include <curses.h>

namespace mallard::cli {
namespace {

constexpr int kEscape = 27;
constexpr short kGrowingColour = 1, kShrinkingColour = 2;
/// What ncurses calls the keys.
constexpr std::pair<int, Key> kKeys[] = {
    {KEY_UP, Key::kUp},     {KEY_DOWN, Key::kDown}, {KEY_PPAGE, Key::kPageUp},  {KEY_NPAGE, Key::kPageDown},
    {KEY_HOME, Key::kHome}, {KEY_END, Key::kEnd},   {KEY_ENTER, Key::kEnter},   {'\r', Key::kEnter},
    {'\n', Key::kEnter},    {kEscape, Key::kEscape}, {KEY_RESIZE, Key::kResize}};

/// Whoever reads a terminal that is gone gets nothing, at once, for ever.
bool is_hung_up() {
  pollfd input{STDIN_FILENO, 0, 0};
  return poll(&input, 1, 0) == 1 && (input.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}

/// Onto a screen that others may have written on.
void paint_anew() {
  const StopHeldBack painting;
  clearok(curscr, TRUE);
  wrefresh(stdscr);
}

}  // namespace

int Terminal::ending_signal() { return TerminalSignals::ending(); }

Terminal::Terminal() {
  if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
    throw Error(kUsage, "standard input or output is no terminal", "use --batch");
  // Without a locale ncurses takes the bytes of a character for characters.
  if (!std::setlocale(LC_ALL, "") || std::strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
    std::setlocale(LC_ALL, "C.UTF-8");
  std::setlocale(LC_NUMERIC, "C");
  const char* type = std::getenv("TERM");
  if (!type || !*type)
    throw Error(kUsage, "the environment does not say which terminal this is: TERM is not set",
                "set TERM=xterm, or use --batch");
  const TerminalKind kind = kind_of_terminal(type);
  if (kind == TerminalKind::kNoScreen)
    throw Error(
        kUsage,
        fmt::format("the terminal '{}' cannot show a screen: it prints line after line", printable(type)),
        "use --batch, which does the same; or set TERM=xterm, if that is what it is");
  termios before{};
  tcgetattr(STDIN_FILENO, &before);
  screen_ = kind == TerminalKind::kScreen ? newterm(nullptr, stdout, stdin) : nullptr;
  if (!screen_)
    throw Error(kUsage, fmt::format("the terminal '{}' is not known here", printable(type)),
                "set TERM=xterm, or use --batch");
  set_term(static_cast<SCREEN*>(screen_));
  signals_ = std::make_unique<TerminalSignals>(before, text_to_leave(getmaxy(stdscr) - 1));
  cbreak();
  noecho();
  curs_set(0);
  keypad(stdscr, TRUE);
  set_escdelay(50);
  const char* no_colour = std::getenv("NO_COLOR");
  coloured_ = has_colors() && !(no_colour && *no_colour) && start_color() == OK && use_default_colors() == OK;
  if (coloured_) {
    init_pair(kGrowingColour, COLOR_RED, -1);
    init_pair(kShrinkingColour, COLOR_GREEN, -1);
  }
}

Terminal::~Terminal() {
  endwin();
  delscreen(static_cast<SCREEN*>(screen_));
}

std::size_t Terminal::width() const { return static_cast<std::size_t>(getmaxx(stdscr)); }
std::size_t Terminal::height() const { return static_cast<std::size_t>(getmaxy(stdscr)); }

void Terminal::show(const std::vector<Line>& lines) {
  werase(stdscr);
  for (std::size_t i = 0; i < lines.size() && i < height(); ++i) {
    attr_t attributes = A_NORMAL;
    if (lines[i].style == LineStyle::kHeading) attributes = A_REVERSE;
    if (lines[i].style == LineStyle::kSelected) attributes = A_STANDOUT | A_BOLD;
    if (coloured_ && lines[i].style == LineStyle::kGrowing) attributes = COLOR_PAIR(kGrowingColour);
    if (coloured_ && lines[i].style == LineStyle::kShrinking) attributes = COLOR_PAIR(kShrinkingColour);
    wattrset(stdscr, static_cast<int>(attributes));
    mvwaddstr(stdscr, static_cast<int>(i), 0, printable(lines[i].text).c_str());
  }
  wattrset(stdscr, A_NORMAL);
  const StopHeldBack painting;
  wrefresh(stdscr);
}

KeyPress Terminal::key(int milliseconds) {
  wtimeout(stdscr, milliseconds);
  const int c = wgetch(stdscr);
  if (TerminalSignals::asks_to_stop()) {
    endwin();
    TerminalSignals::stop();
    paint_anew();
  } else if (TerminalSignals::goes_on()) {  // it was SIGSTOP, which nobody sees coming
    endwin();
    paint_anew();
  }
  // The terminal has moved what it showed, or cut it off, as it likes.
  if (c == KEY_RESIZE) clearok(stdscr, TRUE);
  if (c == ERR) {
    if (is_hung_up()) TerminalSignals::end_with(SIGHUP);  // only a session's leader is told
    return {};
  }
  for (const auto& [code, key] : kKeys)
    if (code == c) return {key, 0};
  return c > 0 && c < 128 ? KeyPress{Key::kCharacter, static_cast<char>(c)} : KeyPress{};
}

std::string Terminal::ask(std::size_t row, const std::string& question) {
  std::string word;
  while (ending_signal() == 0) {
    wmove(stdscr, static_cast<int>(row), 0);
    wclrtoeol(stdscr);
    waddstr(stdscr, (question + word + "_").c_str());
    wrefresh(stdscr);
    const KeyPress press = key(500);
    constexpr char kBackspace = 127, kControlH = 8;
    if (press.key == Key::kEnter) return word;
    if (press.key == Key::kEscape) break;
    if (press.key != Key::kCharacter) continue;
    if (press.character == kBackspace || press.character == kControlH) {
      if (!word.empty()) word.pop_back();
    } else if (word.size() < 20 && press.character >= ' ') {
      word += press.character;
    }
  }
  return {};
}

}  // namespace mallard::cli
