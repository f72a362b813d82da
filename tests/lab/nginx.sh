#!/bin/bash
# nginx.sh SUITE : nginx of a Debian release, unpacked (not installed) under $LAB_DIR/nginx/SUITE and kept; prints a command that runs it.
#
# Through apt with a private state: the machine's own apt is not touched. What it links to comes along, its own loader too, so that a newer
# libc than the machine's is no obstacle. Prints nothing but the path of a wrapper that takes nginx's own arguments.
set -euo pipefail
HERE=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$HERE/lib.sh"

SUITE=${1:?suite}
need apt-get dpkg-deb flock
OUT=$LAB_DIR/nginx/$SUITE
mkdir -p "$LAB_DIR/nginx"
exec 9> "$LAB_DIR/nginx/.$SUITE.lock"
flock -w 300 9 || die "another fetch holds $LAB_DIR/nginx/.$SUITE.lock"
[ ! -x "$OUT/nginx" ] || { echo "$OUT/nginx"; exit 0; }

TMP=$(mktemp -d "$LAB_DIR/nginx/.$SUITE.XXXXXX")
trap 'rm -rf "$TMP"' EXIT
mkdir -p "$TMP/state/lists/partial" "$TMP/cache/archives/partial" "$TMP/root"
: > "$TMP/status"   # nothing is installed, so every dependency is named
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) $SUITE main" > "$TMP/sources.list"
cat > "$TMP/apt.conf" <<C
Dir::State "$TMP/state";
Dir::State::status "$TMP/status";
Dir::Cache "$TMP/cache";
Dir::Etc::sourcelist "$TMP/sources.list";
Dir::Etc::sourceparts "-";
APT::Sandbox::User "root";
#clear APT::Update::Post-Invoke;
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
C
export APT_CONFIG=$TMP/apt.conf
timeout 200 apt-get -qq update >&2

# The program lies in nginx since Debian 12 and in nginx-light before; its libraries are few and have no scripts that matter.
wanted() {
  case $SUITE in
    bullseye) echo nginx-light libc6 libcrypt1 libpcre3 libssl1.1 zlib1g ;;
    *) echo nginx libc6 libcrypt1 libpcre2-8-0 libssl3 zlib1g ;;
  esac
}
# Since the change to 64-bit times the library is called libssl3t64.
read -ra packages <<< "$(wanted)"
for i in "${!packages[@]}"; do
  [[ $(apt-cache policy "${packages[i]}") =~ Candidate:\ [0-9] ]] || packages[i]+=t64
done
(cd "$TMP" && timeout 300 apt-get -qq download "${packages[@]}") >&2
for deb in "$TMP"/*.deb; do dpkg-deb -x "$deb" "$TMP/root"; done

loader=$(cd "$TMP/root" && find . -name 'ld-linux*.so.*' -o -name 'ld-2.*.so' | sort | head -1)
libraries=$(cd "$TMP/root" && find . -name '*.so.*' -printf '%h\n' | sort -u | sed "s|^\.|$OUT/root|" | paste -sd:)
[ -n "$loader" ] || die "no loader in libc6 of $SUITE"
cat > "$TMP/nginx" <<N
#!/bin/sh
exec $OUT/root/${loader#./} --library-path $libraries $OUT/root/usr/sbin/nginx "\$@"
N
chmod 0755 "$TMP/nginx"
rm -rf "$TMP/state" "$TMP/cache" "$TMP"/*.deb "$OUT"
mv "$TMP" "$OUT"
trap - EXIT
chmod 0755 "$OUT"
"$OUT/nginx" -v >&2
echo "$OUT/nginx"
