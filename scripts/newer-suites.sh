# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Single packages of newer suites of the Debian mirror that apt is configured with. Nothing of the system changes: apt
# works on a state of its own, and its signatures decide what is trusted. Sourced after common.sh, never run.

# shellcheck disable=SC2016 # $(REPO_URI) and the like are apt's, not the shell's
KEYRING_NAME=debian-archive-keyring
KEYRING=
for f in "/usr/share/keyrings/$KEYRING_NAME".{pgp,gpg}; do
  if [[ -r $f ]]; then
    KEYRING=$f
    break
  fi
done

# The machine's proxy and access settings stay in force, its hooks and its exceptions from checking do not.
system_settings() {
  apt-config dump | grep '^Acquire::' | grep -v '^Acquire::\(IndexTargets\|Languages\)' || true
}

# prepare_private_apt: makes $PRIVATE_APT, the directory of that state, and the mirrors in mirror_list. Where it fails,
# WHY_NOT and WHAT_HELPS say why.
prepare_private_apt() {
  if [[ -n ${PRIVATE_APT:-} ]]; then return 0; fi
  if [[ -z $KEYRING ]]; then
    WHY_NOT="the keyring of the Debian archive is not here"
    WHAT_HELPS="as root: apt-get install $KEYRING_NAME"
    return 1
  fi
  mapfile -t mirror_list < <(mirrors)
  if ((${#mirror_list[@]} == 0)); then
    WHY_NOT="apt has no source entry for the main archive of this Debian release"
    WHAT_HELPS="see sources.list(5); the entry's suite must be the release's name, its component main"
    return 1
  fi
  keyring=$KEYRING keyring_tried=0
  make_temp_dir PRIVATE_APT
  write_private_settings "$PRIVATE_APT"
}

# write_private_settings DIRECTORY
write_private_settings() {
  local work=$1
  chmod 755 "$work" # apt's downloader drops to a user of its own
  mkdir -p "$work"/{state/lists/partial,cache/archives/partial,etc/apt.conf.d,etc/sources.list.d,deb}
  : >"$work/state/status"
  (
    umask 077 # proxies may have passwords
    system_settings >"$work/apt.conf"
    cat >>"$work/apt.conf" <<END
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
APT::Get::AllowUnauthenticated "false";
APT::Update::Error-Mode "any";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
Dir::State "$work/state";
Dir::State::status "$work/state/status";
Dir::Cache "$work/cache";
Dir::Etc "$work/etc";
Dir::Etc::main "apt.conf";
Dir::Etc::parts "apt.conf.d";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
Dir::Etc::sourcelist "sources.list";
Dir::Etc::sourceparts "sources.list.d";
END
  )
}

private_apt() {
  local tool=$1
  shift
  APT_CONFIG=$PRIVATE_APT/apt.conf "$tool" "$@"
}

# The URIs of the entries for this release's main archive; apt itself reads its sources, in whatever format.
# Security, updates and backports have other suite names; a stranger's archive is refused by its signature.
mirrors() {
  local uri suite component own=
  own=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
  apt-get --no-release-info indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' \
    'Created-By: Packages' |
    while read -r uri suite component; do
      [[ $component == main && $uri != cdrom:* ]] || continue
      case $suite in
        "$own" | stable | oldstable | testing | unstable | sid) ;;
        *) continue ;;
      esac
      # The usual path first, so that a stranger's archive is not even asked.
      case $uri in
        */debian | */debian/) printf '0 %s %s\n' "$uri" "$suite" ;;
        *) printf '1 %s %s\n' "$uri" "$suite" ;;
      esac
    done | sort -u | cut -d ' ' -f 2-
}
# read_suite MIRROR SUITE KEYRING: fetches and verifies the suite's list of packages, or, if LIST_OF is sources, of source
# packages. Leaves apt's complaint in $PRIVATE_APT/complaint.
read_suite() {
  local kind='deb [arch=amd64 target=Packages' created=Packages
  rm -rf "$PRIVATE_APT/state/lists"
  mkdir -p "$PRIVATE_APT/state/lists/partial"
  if [[ ${LIST_OF:-packages} == sources ]]; then kind='deb-src [' created=Sources; fi
  printf '%s signed-by=%s] %s %s main\n' "$kind" "$3" "$1" "$2" >"$PRIVATE_APT/etc/sources.list"
  local origin
  private_apt apt-get -qq update >"$PRIVATE_APT/complaint" 2>&1 || return 1
  origin=$(private_apt apt-get indextargets --format '$(ORIGIN)/$(LABEL)' "Created-By: $created" | sort -u)
  if [[ $origin != Debian/Debian ]]; then
    printf 'E: this archive calls itself %s\n' "'$origin'" >"$PRIVATE_APT/complaint"
    return 1
  fi
}

complaint() {
  local line
  line=$(grep -m1 '^E:' "$PRIVATE_APT/complaint" || grep -m1 '^W:' "$PRIVATE_APT/complaint" || true)
  line=${line:-E: apt-get gave no reason}
  printf '%s\n' "${line:3:300}"
}

is_key_problem() { grep -q 'NO_PUBKEY\|EXPKEYSIG\|not signed\|verified' "$PRIVATE_APT/complaint"; }

# read_suite_verified MIRROR SUITE: the same with $keyring, which it replaces by a newer one when needed.
read_suite_verified() {
  local newer
  if read_suite "$1" "$2" "$keyring"; then return 0; fi
  if ((keyring_tried)) || ! is_key_problem; then return 1; fi
  keyring_tried=1
  cp "$PRIVATE_APT/complaint" "$PRIVATE_APT/first-complaint"
  if newer=$(LIST_OF=packages && newer_keyring); then
    keyring=$newer
    read_suite "$1" "$2" "$keyring"
  else
    mv "$PRIVATE_APT/first-complaint" "$PRIVATE_APT/complaint"
    return 1
  fi
}

# newest_versions NAME...: 'package version' lines of the suite that was read, newest first.
newest_versions() {
  private_apt apt-cache madison "$@" 2>/dev/null | while IFS='| ' read -r package version _; do
    printf '%s %s\n' "$package" "$version"
  done | sort -u -k2,2Vr
}

# download PACKAGE VERSION: leaves the unpacked package in $PRIVATE_APT/deb/tree.
download() {
  rm -rf "$PRIVATE_APT/deb"
  mkdir "$PRIVATE_APT/deb"
  if ((EUID == 0)) && id _apt >/dev/null 2>&1; then chown _apt "$PRIVATE_APT/deb"; fi
  (cd "$PRIVATE_APT/deb" && private_apt apt-get -qq download "$1=$2") >"$PRIVATE_APT/complaint" 2>&1 || return 1
  dpkg-deb -x "$PRIVATE_APT"/deb/*.deb "$PRIVATE_APT/deb/tree" 2>"$PRIVATE_APT/complaint"
}

# The archive's newer keys are in a package that the present release, signed with keys we have, carries too.
newer_keyring() {
  local entry package version found
  say "the archive has newer keys; fetching $KEYRING_NAME of the present release" >&2
  for entry in "${mirror_list[@]}"; do
    read_suite "${entry% *}" "${entry##* }" "$KEYRING" || continue
    read -r package version < <(newest_versions "$KEYRING_NAME") || continue
    download "$package" "$version" || continue
    for found in "$PRIVATE_APT/deb/tree/usr/share/keyrings/$KEYRING_NAME".{pgp,gpg}; do
      if [[ -s $found ]]; then
        cp -L "$found" "$PRIVATE_APT/newer-keyring.${found##*.}"
        printf '%s\n' "$PRIVATE_APT/newer-keyring.${found##*.}"
        return 0
      fi
    done
  done
  return 1
}
