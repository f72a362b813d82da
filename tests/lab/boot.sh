#!/bin/bash
# boot.sh NAME ROOTFS DIR CGROUP NETNS : one host, from power-on to power-off. host.sh runs it under `unshare -m`.
#
# Every mount is made in this private mount namespace, so none outlives the host. A cgroup2 tree of its own is mounted because systemd 252 wants
# one hierarchy, while some machines still show the v1 controllers beside it. A reboot inside ends nspawn with 133: it boots again on the same disk.
set -euo pipefail
NAME=$1 ROOTFS=$2 DIR=$3 CGROUP=/sys/fs/cgroup/$4/box NETNS=$5

mount --make-rprivate /
if mountpoint -q /sys/fs/cgroup; then umount -R /sys/fs/cgroup; fi
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o "mode=755,size=${DISK:-1g}" tmpfs "$DIR"
mkdir "$DIR/up" "$DIR/work" "$DIR/root"
mount -t overlay -o "lowerdir=$ROOTFS,upperdir=$DIR/up,workdir=$DIR/work" overlay "$DIR/root"
echo "$NAME" > "$DIR/root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$NAME" > "$DIR/root/etc/hosts"
: > "$DIR/root/etc/machine-id"

rc=133
while [ $rc = 133 ]; do
  mkdir -p "$CGROUP"
  rc=0
  # shellcheck disable=SC2016  # expanded by the inner shell
  bash -c 'echo $$ > "$0/cgroup.procs"; exec systemd-nspawn "$@"' "$CGROUP" --quiet --boot --directory="$DIR/root" --machine="$NAME" \
    --register=no --keep-unit --resolv-conf=off --timezone=off --link-journal=no --console=pipe \
    --hostname="$NAME" --network-namespace-path="/run/netns/$NETNS" || rc=$?
  echo "boot.sh: ended, rc=$rc"
  find "$CGROUP" -depth -type d -exec rmdir {} + 2>/dev/null || true
done
exit $rc
