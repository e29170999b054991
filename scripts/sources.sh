# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Source packages of this machine's Debian release, from the mirror that apt is configured with. Nothing of the system
# changes: apt works on a state of its own, and its signatures decide what is trusted. Sourced after common.sh, never run.

# fetch_sources DIRECTORY SPEC...: unpacks each source package, 'this|that' as the release has it, into DIRECTORY/NAME. What
# is there already stays. Fails, after saying why, where one is missing; the others are there then.
fetch_sources() {
  local into=$1 spec name status=0
  local -a missing=()
  shift
  for spec in "$@"; do
    for name in ${spec//|/ }; do
      [[ ! -d $into/$name ]] || continue 2
    done
    missing+=("$spec")
  done
  if ((${#missing[@]} == 0)); then return 0; fi
  if ! command -v apt-get >/dev/null || ! command -v dpkg-source >/dev/null; then
    error "source packages need apt-get and dpkg-source: ${missing[*]}"
    return 1
  fi
  # shellcheck source=newer-suites.sh
  . "$MALLARD_ROOT/scripts/newer-suites.sh"
  prepare_private_apt || {
    error "$WHY_NOT; without source packages: ${missing[*]}"
    hint "$WHAT_HELPS"
    return 1
  }
  read_source_lists || {
    error "the lists of source packages could not be had: $(complaint)"
    return 1
  }
  mkdir -p "$into"
  for spec in "${missing[@]}"; do
    fetch_source "$into" "$spec" || {
      error "the source package $spec could not be had: $(complaint)"
      status=1
    }
  done
  return "$status"
}

# read_source_lists: of the first mirror that has them.
read_source_lists() {
  local entry
  for entry in "${mirror_list[@]}"; do
    if LIST_OF=sources read_suite_verified "${entry% *}" "${entry##* }"; then return 0; fi
  done
  return 1
}

# fetch_source DIRECTORY SPEC
fetch_source() {
  local into=$1 name
  for name in ${2//|/ }; do
    rm -rf "$PRIVATE_APT/deb"
    mkdir "$PRIVATE_APT/deb"
    if ((EUID == 0)) && id _apt >/dev/null 2>&1; then chown _apt "$PRIVATE_APT/deb"; fi
    (cd "$PRIVATE_APT/deb" && private_apt apt-get -qq source --download-only --only-source "$name") >"$PRIVATE_APT/complaint" 2>&1 || continue
    say "unpacking $(cd "$PRIVATE_APT/deb" && echo ./*.dsc) into $into"
    # Its checksums are those that apt has verified. What is in $into is whole.
    dpkg-source --no-check --extract "$PRIVATE_APT"/deb/*.dsc "$PRIVATE_APT/deb/tree" >"$PRIVATE_APT/complaint" 2>&1 || return 1
    rm -rf "$into/.$name"
    mv "$PRIVATE_APT/deb/tree" "$into/.$name" && mv "$into/.$name" "$into/$name"
    return
  done
  return 1
}
