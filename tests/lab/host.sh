#!/bin/bash
# host.sh COMMAND : one machine with real systemd, in namespaces of this one; $LAB names it.
#
#   up                boot it (building the root file system if need be) and wait until systemd says running
#   run COMMAND...    as root inside; stdin, stdout, stderr and the exit code are the command's
#   put FILE PATH     copy a file in, executable
#   hub COMMAND...    on a second device in the same network (10.77.0.1; the machine is 10.77.0.101)
#   reboot            clean reboot, same disk; waits until it runs again
#   down              take it away; nothing is left but the root file system. May be repeated
set -euo pipefail
HERE=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$HERE/lib.sh"

HUB=$LAB-hub NS=$LAB-host

# PID 1 of the machine: the one process of its cgroup that is 1 in its own PID namespace.
leader() {
  local file pid
  while read -r file; do
    while read -r pid; do
      if awk '/^NSpid:/ { exit !(NF > 2 && $NF == 1) }' "/proc/$pid/status" 2>/dev/null; then echo "$pid"; return 0; fi
    done < "$file"
  done < <(find "$(cgroup_of host)" -name cgroup.procs 2>/dev/null)
  return 1
}

inside() {
  local pid; pid=$(leader) || die "no machine is up"
  nsenter --target "$pid" --mount --uts --ipc --net --pid --cgroup --root --wd -- \
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"
}

running() { [ "$(inside systemctl is-system-running)" = running ]; }

await() {
  wait_for "${WAIT:-60}" running || {
    tail -n 5 "$RUN/host.log" >&2
    inside systemctl --failed --no-legend >&2 || true
    die "not running after ${WAIT:-60} s"
  }
}

netns() { # netns NAME ADDRESS PEER
  ip netns add "$1"
  ip netns exec "$1" sysctl -qe -w net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
  ip -n "$1" link set lo up
}

up() {
  local rootfs
  need systemd-nspawn ip nsenter unshare findmnt
  rootfs=$("$HERE/build.sh")
  mkdir -p "$LAB_DIR/run"
  mkdir "$RUN" 2>/dev/null || die "lab $LAB is up: host.sh down first, or choose another LAB"
  trap down EXIT
  mkdir "$RUN/host"
  netns "$HUB"; netns "$NS"
  ip -n "$HUB" link add host type veth peer name eth0 netns "$NS"
  ip -n "$HUB" addr add 10.77.0.1/24 dev host
  ip -n "$HUB" link set host up
  ip -n "$NS" addr add 10.77.0.101/24 dev eth0
  ip -n "$NS" link set eth0 up
  ip -n "$NS" route add default via 10.77.0.1
  spawn host unshare -m "$HERE/boot.sh" "$NS" "$rootfs" "$RUN/host" "rtclab-$LAB-host" "$NS"
  await
  trap - EXIT
}

down() {
  stop host
  for ns in "$NS" "$HUB"; do [ ! -e "/run/netns/$ns" ] || ip netns del "$ns"; done
  rm -rf "/run/systemd/nspawn/propagate/$NS" "/run/systemd/nspawn/unix-export/$NS"
  rm -rf --one-file-system "${RUN:?}"
  rmdir "$LAB_DIR/run" 2>/dev/null || true
}

case ${1:-} in
  up) up;;
  run) shift; inside "$@";;
  put) [ $# = 3 ] || usage; inside sh -c "cat > \"\$0\" && chmod 755 \"\$0\"" "$3" < "$2";;
  hub) shift; ip netns exec "$HUB" "$@";;
  reboot)
    old=$(leader)
    inside systemctl reboot || true
    wait_for 30 eval '! kill -0 '"$old" || die "did not go down"
    wait_for 30 leader || die "did not come back"
    await;;
  down) need ip findmnt; down;;
  *) usage;;
esac
