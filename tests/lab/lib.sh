# shellcheck shell=bash
# Common to the lab scripts: names, folders, bounded waits, programs in the background. Sourced, never run.

LAB=${LAB:-rtcctl}                                               # prefix of every name the lab makes
LAB_DIR=$(realpath -m "${LAB_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/rtcctl-lab}")   # every file the lab makes
RUN=$LAB_DIR/run/$LAB                                            # what this lab has running
export LAB LAB_DIR

die() { echo "${0##*/}: $*" >&2; exit 1; }
[[ $LAB =~ ^[a-z0-9]{1,12}$ ]] || die "LAB must be 1 to 12 of a-z and 0-9"

# The comment block at the top of the script is its usage text.
usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2; exit 2; }

need() { # need COMMAND... : root, and everything that is missing at once
  local missing=()
  [ "$(id -u)" = 0 ] || die "must run as root"
  for c in "$@"; do command -v "$c" >/dev/null || missing+=("$c"); done
  [ ${#missing[@]} = 0 ] || die "not installed: ${missing[*]}"
}

wait_for() { # wait_for SECONDS COMMAND... : until the command succeeds
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.02
  done
}

# Base address of the archive this machine itself uses, read from apt's sources, so that no server's name is written down here.
mirror() {
  local release uri
  # shellcheck source=/dev/null
  release=$(. /etc/os-release && echo "$VERSION_CODENAME")
  # shellcheck disable=SC2016  # $(...) is apt's own format language
  uri=$(apt-get indextargets --no-release-info --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
        awk -v r="$release" '$1 == r && !u { u = $2 } END { print u }')
  [ -n "$uri" ] || die "apt names no archive for $release"
  echo "${uri%/}"
}

# The cgroup makes stopping certain: it also holds what left the process group.
cgroup_of() {
  local root; root=$(findmnt -nro TARGET -t cgroup2 | awk 'NR == 1')
  [ -w "${root:-/none}" ] || die "no writable cgroup2 mount"
  echo "$root/rtclab-$LAB-$1"
}

spawn() { # spawn NAME COMMAND... : in a cgroup of its own; output goes to $RUN/NAME.log
  local name=$1 cg; shift
  cg=$(cgroup_of "$name")
  # shellcheck disable=SC2016  # expanded by the inner shell
  setsid bash -c 'mkdir -p "$0" && echo $$ > "$0/cgroup.procs" && exec "$@"' "$cg" "$@" </dev/null >"$RUN/$name.log" 2>&1 &
  wait_for 5 populated "$cg" || die "$name did not start: $(tail -n 3 "$RUN/$name.log")"
}

populated() { grep -q '^populated 1' "$1/cgroup.events"; }
empty() { grep -q '^populated 0' "$1/cgroup.events"; }

stop() { # stop NAME : kills everything in its cgroup and removes it
  local cg; cg=$(cgroup_of "$1")
  [ -d "$cg" ] || return 0
  echo 1 > "$cg/cgroup.kill"
  wait_for 10 empty "$cg" || die "$1: processes left in $cg"
  wait_for 5 find "$cg" -depth -type d -exec rmdir {} + || die "$cg cannot be removed"
}
