# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Small Debian systems in directories of their own, by debootstrap. Sourced after common.sh, never run; needs root.

# need_debootstrap: installs it where it is missing.
need_debootstrap() {
  ((EUID == 0)) || die "making a chroot needs root"
  install_packages debootstrap@debootstrap unshare@util-linux git@git || exit
}

# machine_mirror: prints the URI of the mirror that apt has for the main archive of a Debian.
machine_mirror() {
  # shellcheck disable=SC2016 # $(REPO_URI) and the like are apt's, not the shell's
  apt-get --no-release-info indextargets --format '$(REPO_URI) $(COMPONENT) $(RELEASE)' 'Created-By: Packages' 2>/dev/null |
    grep -E ' main (bullseye|bookworm|trixie|forky|sid|oldoldstable|oldstable|stable|testing|unstable)$' |
    cut -d ' ' -f 1 | head -n 1
}

# make_chroot SUITE DIRECTORY MIRROR [PACKAGES]: the packages are separated by commas. Fails with the end of what
# debootstrap said.
make_chroot() {
  local suite=$1 directory=$2 mirror=$3 log=$2.log
  mkdir -p "$directory"
  if ! debootstrap --variant=minbase --include="ca-certificates${4:+,$4}" "$suite" "$directory" "$mirror" >"$log" 2>&1; then
    tail -n 5 "$log" | sed 's/^/  debootstrap: /' >&2
    return 1
  fi
  # A mirror that stands still has lists that are out of date.
  echo 'Acquire::Check-Valid-Until "false";' >"$directory/etc/apt/apt.conf.d/10frozen-mirror"
  # The way out of this machine is that of the chroot, too.
  cp -L /etc/resolv.conf "$directory/etc/resolv.conf"
  if [[ -s ${NODE_EXTRA_CA_CERTS:-} ]]; then cp -L "$NODE_EXTRA_CA_CERTS" "$directory/etc/machine-certificates.crt"; fi
}

CHROOT_PROCESS=''
stop_chroot() {
  if [[ -n $CHROOT_PROCESS ]]; then kill -KILL "$CHROOT_PROCESS" 2>/dev/null; fi
}
on_exit stop_chroot

# in_chroot DIRECTORY COMMAND...: runs it there as root in mount and process namespaces of its own: what it mounts and
# starts is gone with it, however it ends.
in_chroot() {
  local directory=$1 name status=0
  local -a environment=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8)
  shift
  for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY SOURCE_DATE_EPOCH MALLARD_PACKAGE_VERSION; do
    if [[ -n ${!name:-} ]]; then environment+=("$name=${!name}"); fi
  done
  if [[ -s $directory/etc/machine-certificates.crt ]]; then
    environment+=(NODE_EXTRA_CA_CERTS=/etc/machine-certificates.crt)
  fi
  # shellcheck disable=SC2016 # expanded by the inner shell
  unshare --mount --pid --fork --kill-child bash -ec '
    directory=$1
    shift
    mount --make-rprivate /
    mount -t proc proc "$directory/proc"
    mount --rbind /dev "$directory/dev"
    mount -t sysfs -o ro sysfs "$directory/sys"
    exec chroot "$directory" /usr/bin/env -i "$@"' _ "$directory" "${environment[@]}" "$@" </dev/null &
  # In the background, because bash puts signals off as long as a command runs in front.
  CHROOT_PROCESS=$!
  wait "$CHROOT_PROCESS" || status=$?
  CHROOT_PROCESS=''
  return "$status"
}

# remove_chroot DIRECTORY
remove_chroot() { rm -rf --one-file-system "$1" "$1.log"; }
