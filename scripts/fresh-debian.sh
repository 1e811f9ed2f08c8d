#!/usr/bin/env bash
# A fresh Debian 12 with systemd, an engine and SoftHSM as an image of the engine at hand, for `make readme`. Made once.
set -euo pipefail
cd "$(dirname "$0")/.."

image=stationmaster-test/fresh-debian:12
release=bookworm
packages=systemd,systemd-sysv,dbus,docker.io,softhsm2,libssl3,libsqlite3-0,libzstd1,ca-certificates,procps,passwd

say() { echo "fresh-debian: $*" >&2; }

stamp=$(sha256sum scripts/fresh-debian.sh | cut -d' ' -f1)
[ "$(docker image inspect --format '{{index .Config.Labels "stamp"}}' "$image" 2>/dev/null)" != "$stamp" ] || exit 0

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
# Where the machine's own Debian packages come from, so that a mirror stays a mirror.
mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 2>/dev/null | sed -n 's/^Debian //p' | head -n 1)
root=$(mktemp -d)
trap '$sudo rm -rf "$root"' EXIT
say "debootstrap of $release"
$sudo /usr/sbin/debootstrap --variant=minbase --include="$packages" "$release" "$root/debian" "${mirror:-http://deb.debian.org/debian}" >"$root/log" 2>&1 ||
    { tail -n 20 "$root/log" >&2; exit 1; }
# Its engine has no network to make rules and bridges for; nothing waits for a network.
echo '{ "iptables": false, "ip6tables": false, "bridge": "none" }' | $sudo tee "$root/debian/etc/docker/daemon.json" >/dev/null
$sudo chroot "$root/debian" systemctl mask systemd-networkd-wait-online.service systemd-resolved.service getty@tty1.service console-getty.service >/dev/null 2>&1
$sudo tar -C "$root/debian" -c . | docker import --change "LABEL stamp=$stamp" - "$image" >/dev/null
say "$image is there"
