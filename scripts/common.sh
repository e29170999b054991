# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What the scripts share: messages, cleaning up, installing packages, building. Sourced, never run.
# Needs bash, coreutils, grep and sed only, until install_packages has brought the rest.

set -euo pipefail

MALLARD_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
BUILD_DIR=$MALLARD_ROOT/build
NO_INSTALL=${NO_INSTALL:-0}
export LC_ALL=C.UTF-8

# ---- packages -------------------------------------------------------------------------------------------
# 'command@package': not installed where the command is on PATH already, whoever brought it. 'this|that': names
# of one package in different releases. A '?' in front: where the release has none, the rest goes on without.
# shellcheck disable=SC2034
{
  BUILD_PACKAGES=(
    g++@g++ gcc@gcc meson@meson ninja@ninja-build pkg-config@pkg-config objcopy@binutils python3@python3
    libjemalloc-dev libunwind-dev libiberty-dev libelf-dev libdw-dev libncurses-dev libcli11-dev libfmt-dev
    nlohmann-json3-dev catch2 protoc@protobuf-compiler libprotobuf-dev zlib1g-dev
  )
  # Of the HTML page; npm brings hundreds of small packages, which the demo does without.
  HTML_PACKAGES=(node@nodejs npm@npm)
  DEMO_PACKAGES=(redis-server redis-tools '?libmimalloc2.0|libmimalloc3')
  # Of all architectures or without dependencies, and so taken from a newer suite of the same mirror where this one has
  # none or one below the version. Debian 11 needs that. libiberty of before 2022 follows a damaged Rust name for ever.
  declare -A FROM_NEWER=([meson]=1.0.1 [libcli11-dev]=1.8 [libiberty-dev]=20220201)
  NEWER_SUITES=(bookworm trixie)
  EXTRA_PACKAGES=(clang@clang clang-tidy@clang-tidy)
  TEST_PACKAGES=(
    redis-server redis-tools '?slapd' '?ldap-utils' '?postgresql' '?postgresql-contrib' 'sqlite3@?sqlite3' git@git
    'node@?nodejs' 'chromium@?chromium' ps@procps '?libtcmalloc-minimal4|libtcmalloc-minimal4t64'
    '?libmimalloc2.0|libmimalloc3' '?libjemalloc2' '?liblmdb-dev'
    'mdb_load@?lmdb-utils' 'musl-gcc@?musl-tools' 'zsh@?zsh' 'mandoc@?mandoc' dpkg-shlibdeps@dpkg-dev 'dh@?debhelper' 'lintian@?lintian'
    '?python3-pytest' '?python3-pytest-xdist' '?python3-pytest-timeout' '?python3-pyte' '?python3-jsonschema'
    '?python3-hypothesis' 'debootstrap@?debootstrap'
  )
}

# ---- messages -------------------------------------------------------------------------------------------
# Who reads it in a terminal has lines broken between words, not within them.
say() {
  if [[ -t 1 ]]; then printf 'mallard: %s\n' "$*" | fold -s -w 80; else printf 'mallard: %s\n' "$*"; fi
}
error() { printf 'mallard: error: %s\n' "$*" >&2; }
hint() { printf 'mallard: hint: %s\n' "$*" >&2; }

# die MESSAGE [HINT]
die() {
  error "$1"
  if [[ -n ${2:-} ]]; then hint "$2"; fi
  exit 1
}

# usage_error MESSAGE
usage_error() {
  error "$1"
  hint "$(basename "$0") --help lists the options"
  exit 2
}

# ---- cleaning up ----------------------------------------------------------------------------------------
EXIT_COMMANDS=()

# on_exit COMMAND...: runs it when the script ends, however it ends; last registered, first run.
on_exit() { EXIT_COMMANDS+=("$(printf '%q ' "$@")"); }

run_exit_commands() {
  local status=$? i
  trap '' HUP INT TERM
  set +e
  for ((i = ${#EXIT_COMMANDS[@]} - 1; i >= 0; i--)); do
    eval "${EXIT_COMMANDS[i]}"
  done
  exit "$status"
}
trap run_exit_commands EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# make_temp_dir VARIABLE: a private directory that vanishes with the script.
make_temp_dir() {
  local made
  made=$(mktemp -d "${TMPDIR:-/tmp}/mallard.XXXXXX")
  on_exit rm -rf "$made"
  printf -v "$1" '%s' "$made"
}

# ---- installing -----------------------------------------------------------------------------------------
is_installed() {
  local status
  status=$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) && [[ $status == installed ]]
}

# missing_packages SPEC...: prints what is not there, each once, one per line: a package, or its names.
missing_packages() {
  local spec names
  local -A seen=()
  for spec in "$@"; do
    names=${spec#*@}
    [[ -z ${seen[$names]:-} ]] || continue
    seen[$names]=1
    if is_too_old "$names"; then
      printf '%s\n' "$names"
      continue
    fi
    if [[ $spec == *@* ]] && command -v "${spec%%@*}" >/dev/null; then continue; fi
    if [[ $spec != *@* ]] && ! command -v dpkg-query >/dev/null; then continue; fi # cannot be told here
    any_installed "${names#\?}" || printf '%s\n' "$names"
  done
}

# any_installed 'THIS|THAT'
any_installed() {
  local name
  for name in ${1//|/ }; do
    if is_installed "$name"; then return 0; fi
  done
  return 1
}

# is_too_old PACKAGE: whether it is installed as a package below the version of FROM_NEWER.
is_too_old() {
  [[ -n ${FROM_NEWER[$1]:-} ]] && command -v dpkg-query >/dev/null && is_installed "$1" &&
    dpkg --compare-versions "$(dpkg-query -W -f '${Version}' "$1")" lt "${FROM_NEWER[$1]}"
}

# is_from_newer PACKAGE: whether this release lacks it, or has one below the version of FROM_NEWER. False as long
# as apt has no package lists.
is_from_newer() {
  local candidate
  [[ -n ${FROM_NEWER[$1]:-} ]] && has_candidate gcc || return 1
  candidate=$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p')
  [[ -z $candidate || $candidate == '(none)' ]] || dpkg --compare-versions "$candidate" lt "${FROM_NEWER[$1]}"
}

# has_candidate PACKAGE: whether the package lists offer it.
has_candidate() { [[ $(apt-cache policy "$1" 2>/dev/null) =~ Candidate:\ [^\(] ]]; }

# known_name '[?]THIS|THAT': prints the name that this release has; the first one where it has none; nothing for
# what is optional then.
known_name() {
  local names=${1#\?} name
  for name in ${names//|/ }; do
    if has_candidate "$name"; then
      printf '%s\n' "$name"
      return
    fi
  done
  if [[ $1 != \?* ]]; then printf '%s\n' "${names%%|*}"; fi
}

POLICY_FILE=/usr/sbin/policy-rc.d
POLICY_MARK='# temporary, by the scripts of mallard'

# While packages are configured, their services must not start: there may be no init system, and nobody asked
# for a server. A policy of the machine's own stays.
forbid_services() {
  on_exit allow_services
  if (set -o noclobber && printf '#!/bin/sh\n%s\nexit 101\n' "$POLICY_MARK" >"$POLICY_FILE") 2>/dev/null; then
    chmod 755 "$POLICY_FILE"
  fi
}

allow_services() {
  if grep -qsF "$POLICY_MARK" "$POLICY_FILE"; then rm -f "$POLICY_FILE"; fi
}

# run_apt LOG ARGUMENT...
run_apt() {
  local log=$1
  shift
  DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true apt-get -qq -y \
    -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
    "$@" </dev/null >>"$log" 2>&1
}

# Makes `missing` of `wanted`, and `newer` of what has to come from a newer suite. Part of install_packages, run again
# once the package lists are there.
names_for_release() {
  local name
  missing=() newer=()
  for name in "${wanted[@]}"; do
    if ! command -v apt-cache >/dev/null; then
      name=${name#\?} name=${name%%|*}
    elif [[ $name == *[\|?]* ]]; then
      name=$(known_name "$name")
    fi
    if [[ -n $name ]] && is_from_newer "$name"; then
      newer+=("$name")
    elif [[ -n $name ]]; then
      missing+=("$name")
    fi
  done
}

# install_from_newer LOG PACKAGE...: the packages of the first newer suite that has them all.
install_from_newer() {
  local log=$1 suite entry name version files=0
  shift
  # shellcheck source=newer-suites.sh
  . "$MALLARD_ROOT/scripts/newer-suites.sh"
  prepare_private_apt || {
    error "$WHY_NOT: $*"
    hint "$WHAT_HELPS"
    return 1
  }
  for suite in "${NEWER_SUITES[@]}"; do
    for entry in "${mirror_list[@]}"; do
      read_suite_verified "${entry% *}" "$suite" || continue
      say "not in this release, or too old here; installing from $suite: $*"
      files=0
      for name in "$@"; do
        read -r _ version < <(newest_versions "$name") && download "$name" "$version" &&
          mv "$PRIVATE_APT"/deb/*.deb "$PRIVATE_APT/" && files=$((files + 1))
      done
      if ((files == $#)) && run_apt "$log" install --no-install-recommends "$PRIVATE_APT"/*.deb; then return 0; fi
    done
  done
  error "no newer suite of the mirror gave these packages: $*"
  return 1
}

# install_packages SPEC...: installs what is missing. Returns 2, after naming what is missing in one line,
# where it must not or cannot install.
install_packages() {
  local -a wanted missing newer
  local by_hand log attempt
  mapfile -t wanted < <(missing_packages "$@")
  if ((${#wanted[@]} == 0)); then return 0; fi
  names_for_release
  if ((${#missing[@]} + ${#newer[@]} == 0)); then return 0; fi
  if ! command -v apt-get >/dev/null; then
    error "missing, and there is no apt-get to install them: ${missing[*]}"
    hint "install what corresponds to these Debian packages, then use --no-install"
    return 2
  fi
  if [[ $NO_INSTALL == 1 || $EUID != 0 ]] && ((${#newer[@]})); then
    hint "not in this release, or too old; run as root and without --no-install to get from a newer one: ${newer[*]}"
    if ((${#missing[@]} == 0)); then return 2; fi
  fi
  by_hand="apt-get update && apt-get install --no-install-recommends ${missing[*]}"
  if [[ $NO_INSTALL == 1 ]]; then
    error "missing packages: ${missing[*]}"
    hint "as root: $by_hand"
    return 2
  fi
  if ((EUID != 0)); then
    error "installing needs root; missing packages: ${missing[*]}"
    hint "as root: $by_hand"
    return 2
  fi

  say "installing with apt-get, services not started: ${missing[*]}"
  make_temp_dir log
  log+=/apt.log
  forbid_services
  # Dry run first: it tells cheaply whether the package lists are there and know all names.
  if ! run_apt "$log" --simulate install --no-install-recommends "${missing[@]}"; then
    say "updating the package lists"
    run_apt "$log" update || true
    names_for_release
    by_hand="apt-get update && apt-get install --no-install-recommends ${missing[*]}"
  fi
  for attempt in 1 2 3; do
    if run_apt "$log" install --no-install-recommends "${missing[@]}"; then
      if ((${#newer[@]})) && ! install_from_newer "$log" "${newer[@]}"; then break; fi
      allow_services
      say "installed"
      return 0
    fi
    if ((attempt < 3)); then
      say "apt-get failed; trying again with fresh package lists"
      sleep $((attempt * 3))
      run_apt "$log" --fix-broken install || true
      run_apt "$log" update || true
    fi
  done
  allow_services
  tail -n 20 "$log" | sed 's/^/  apt-get: /' >&2
  error "these packages could not be installed: ${missing[*]} ${newer[*]}"
  hint "as root: $by_hand"
  return 1
}

# ---- testing --------------------------------------------------------------------------------------------
# Prints a Python that has pytest and what the tests need beside it: another one may come first on PATH than the one
# that Debian's packages are for.
test_python() {
  local python
  for python in python3 /usr/bin/python3; do
    if "$python" -c 'import pytest, xdist, pytest_timeout, pyte, jsonschema, hypothesis
assert int(pytest.__version__.split(".")[0]) >= 7' 2>/dev/null; then
      command -v "$python"
      return
    fi
  done
  return 1
}

# ---- building -------------------------------------------------------------------------------------------
# Makes build/ ready for ninja.
configure_build() {
  if [[ -f $BUILD_DIR/meson-info/meson-info.json ]] &&
    ! grep -qF "\"source\": \"$MALLARD_ROOT\"" "$BUILD_DIR/meson-info/meson-info.json"; then
    say "build/ was configured for another directory; configuring it anew"
    rm -rf "$BUILD_DIR"
  fi
  if [[ -f $BUILD_DIR/build.ninja ]]; then return 0; fi
  say "configuring build/"
  # Left by a configuration that failed or was interrupted.
  rm -rf "$BUILD_DIR/meson-private" "$BUILD_DIR/meson-info"
  if ((!NO_INSTALL)); then
    timeout 180 "$MALLARD_ROOT/scripts/get-zydis" ||
      say "going on without Zydis: allocators inside programs can be taken over, but not observed"
  fi
  # Meson learns Debian's library directory from dpkg-dev, which is installed for the tests only.
  local multiarch
  multiarch=$(gcc -print-multiarch 2>/dev/null) || multiarch=''
  (cd "$MALLARD_ROOT" && quietly meson setup build --buildtype=release -Dwerror=true -Dtogether=true \
    ${multiarch:+"--libdir=lib/$multiarch"})
}

# quietly COMMAND...: shows the end of the command's output if it fails, without ninja's progress.
quietly() {
  local log status=0
  log=$(mktemp "${TMPDIR:-/tmp}/mallard.XXXXXX")
  "$@" </dev/null >"$log" 2>&1 || status=$?
  if ((status != 0)); then
    { grep -v '^\[[0-9]*/[0-9]*\] [A-Z]' "$log" || true; } | tail -n 60 >&2
  fi
  rm -f "$log"
  return "$status"
}
