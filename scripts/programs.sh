# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# scripts/matrix programs: installs what is missing, unpacks source packages for the suites that are in no other, and hands
# over to tests/programs. Sourced, after common.sh.

PROGRAMS_USAGE='usage: scripts/matrix programs [--only NAME,...] [--backends NAME,...] [--modes NAME,...] [--short] [--write]
                               [--build DIR] [--keep DIR] [--list] [--no-install]

Runs programs of others (interpreters, compilers, servers) with mallard under each backend and in each mode. Their results
have to be those without mallard; a report that is asked for in mid-run has to be valid, and its unexplained part within 1 %.
Status 0: all so; 1: some not; 77: none could be run.

  --only NAME,...      these programs; --list names them
  --backends NAME,...  of system, jemalloc, mimalloc2, mimalloc3, tcmalloc
  --modes NAME,...     of off, sample, exact
  --short              for CI: two programs, one backend
  --write              write the table of docs/compatibility.md; with --only the rows of these programs
  --build DIR          where mallard was built (default: build); source packages are unpacked into DIR/sources
  --keep DIR           keep what failed there
  --no-install         go on without the packages that are missing, those of sources, too; their programs are rows with
                       the reason
  --help               this text'

# programs_python ARGUMENT...
programs_python() {
  local python
  python=$(test_python) || python=python3
  PYTHONPATH=$MALLARD_ROOT/tests "$python" -B -c 'import sys; from programs.matrix import main; sys.exit(main(sys.argv[1:]))' "$@"
}

# matrix_programs ARGUMENT...
matrix_programs() {
  local -a passed=() wanted=()
  local given before='' build=$BUILD_DIR
  for given in "$@"; do
    case $given in
      -h | --help)
        printf '%s\n' "$PROGRAMS_USAGE"
        return 0
        ;;
      --no-install) NO_INSTALL=1 ;;
      *) passed+=("$given") ;;
    esac
    if [[ $before == --build ]]; then build=$given; fi
    if [[ $given == --build=* ]]; then build=${given#*=}; fi
    before=$given
  done
  if [[ " ${passed[*]} " != *' --list '* ]]; then
    mapfile -t wanted < <(programs_python "${passed[@]}" --packages | sed 's/^/?/')
    wanted+=('?libtcmalloc-minimal4|libtcmalloc-minimal4t64' '?libmimalloc2.0|libmimalloc3' '?python3-jsonschema')
    install_packages "${wanted[@]}" || say "going on with the programs that are here"
    if [[ $NO_INSTALL != 1 ]]; then
      # shellcheck source=sources.sh
      . "$MALLARD_ROOT/scripts/sources.sh"
      mapfile -t wanted < <(programs_python "${passed[@]}" --sources)
      fetch_sources "$build/sources" "${wanted[@]}" || say "going on without these suites"
    fi
  fi
  programs_python "${passed[@]}"
}
