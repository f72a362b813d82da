#!/bin/bash
# build.sh [SUITE] : builds a root file system with real systemd under $LAB_DIR/rootfs/ and prints its path.
# Kept between runs: nothing is done if it is there. SUITE is a Debian release, default bookworm.
set -euo pipefail
HERE=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$HERE/lib.sh"

SUITE=${1:-bookworm}
need mmdebstrap flock
OUT=$LAB_DIR/rootfs/systemd-$SUITE
mkdir -p "$LAB_DIR/rootfs"
exec 9> "$LAB_DIR/rootfs/.systemd.lock"
flock -w 600 9 || die "another build holds $LAB_DIR/rootfs/.systemd.lock"
[ ! -d "$OUT" ] || { echo "$OUT"; exit 0; }
rm -rf --one-file-system "$LAB_DIR"/rootfs/.systemd.*/   # of a build that was killed

TMP=$(mktemp -d "$LAB_DIR/rootfs/.systemd.XXXXXX")
trap 'rm -rf --one-file-system "$TMP"' EXIT
echo "building $OUT" >&2
timeout 900 mmdebstrap --quiet --mode=root --variant=minbase \
  --include=systemd,systemd-sysv,dbus,iproute2,ca-certificates,procps,libnss3-tools,sudo \
  --aptopt='Acquire::Languages "none"' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
  "$SUITE" "$TMP/root" "$(mirror)" >&2
mv "$TMP/root" "$OUT"
echo "$OUT"
