#!/usr/bin/env bash
# The Docker engine of Debian's next release, unpacked beside the system: nothing is installed, nothing of the system changes.
#
#   next-engine.sh unpack     download it with apt and unpack it into target/next-engine/ (once)
#   next-engine.sh dockerd …  become its dockerd; only in a mount namespace of its own (unshare --mount), as root
set -euo pipefail
cd "$(dirname "$0")/.."

release=trixie
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
out=$PWD/target/next-engine
root=$out/root

say() { echo "next-engine: $*" >&2; }
fail() { say "$@"; exit 1; }

# Where the machine's own Debian packages come from, so that a mirror stays a mirror.
mirror() {
    apt-get indextargets --format '$(LABEL) $(REPO_URI)' 2>/dev/null | sed -n 's/^Debian //p' | head -n 1
}

unpack() {
    local stamp
    stamp=$(sha256sum scripts/next-engine.sh)
    [ "$(cat "$out/.stamp" 2>/dev/null)" != "$stamp" ] || return 0
    command -v apt-get >/dev/null && [ -e "$keyring" ] ||
        fail "Docker of Debian $release needs apt-get and $keyring (package debian-archive-keyring)"
    local site
    site=$(mirror)
    say "unpacking Docker of Debian $release into ${out#"$PWD"/}"
    rm -rf "$out"
    mkdir -p "$out/apt/lists/partial" "$out/apt/cache/archives/partial" "$root"
    # With directories of its own and no package installed, apt takes all that the engine needs, libraries included.
    : >"$out/apt/status"
    echo "deb [signed-by=$keyring] ${site:-http://deb.debian.org/debian} $release main" >"$out/apt/sources.list"
    local apt=(apt-get -q
        -o Dir::State="$out/apt" -o Dir::State::Lists="$out/apt/lists" -o Dir::State::status="$out/apt/status"
        -o Dir::Cache="$out/apt/cache" -o Dir::Etc::SourceList="$out/apt/sources.list" -o Dir::Etc::SourceParts=-
        -o Dir::Etc::Preferences=- -o Dir::Etc::PreferencesParts=- -o APT::Sandbox::User="$(id -un)"
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Debug::NoLocking=true)
    "${apt[@]}" update >"$out/apt/log" 2>&1 && "${apt[@]}" install -y --download-only --no-install-recommends docker.io >>"$out/apt/log" 2>&1 ||
        { tail -n 5 "$out/apt/log" >&2; fail "apt does not download Docker of Debian $release, see above"; }
    local package
    for package in "$out"/apt/cache/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
    rm -rf "$out/apt"
    echo "$stamp" >"$out/.stamp"
}

# Its binaries want a newer C library than the system's. Bound over the system's libraries, it is what they and all that they start
# get, at the usual place; nobody outside the namespace sees it.
become() { # dockerd's options
    local libc=("$root"/usr/lib/*/libc.so.6)
    [ -e "${libc[0]}" ] || fail "${out#"$PWD"/} has no engine: run scripts/next-engine.sh unpack"
    [ "$(readlink /proc/self/ns/mnt)" != "$(readlink /proc/1/ns/mnt)" ] || fail "only in a mount namespace of its own: unshare --mount $0 dockerd"
    local libraries=${libc[0]%/*}
    mount --bind "$libraries" "${libraries#"$root"}"
    PATH=$root/usr/sbin:$root/usr/bin:$PATH exec dockerd "$@"
}

case ${1:-} in
    unpack) unpack ;;
    dockerd)
        shift
        become "$@"
        ;;
    *) sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
