#!/usr/bin/env bash
# Installs what is missing on a Debian machine, and says so first. Running it again changes nothing.
#
#   setup.sh build   what building needs
#   setup.sh demo    the same, and what the demo needs
#   setup.sh test    the same, and what the tests need
#   setup.sh tokens  what building and the keystore's tests need; more tokens are unpacked beside the system (scripts/token-modules.sh)
#   setup.sh readme  the same, and what makes a fresh Debian
set -euo pipefail
cd "$(dirname "$0")/.."

rust_needed=1.94
mode=${1:-}
case $mode in
    build | demo | test | tokens | readme) ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

say() { echo "setup: $*" >&2; }
fail() { say "$@"; exit 1; }

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

missing=()
need() {
    local package
    for package in "$@"; do
        installed "$package" || missing+=("$package")
    done
}

need_engine() {
    local status=0
    scripts/engine.sh answers || status=$?
    # 13: an engine that sudo can reach
    [ "$status" = 1 ] || return 0
    PATH=$PATH:/usr/sbin:/sbin command -v dockerd >/dev/null && return 0
    # apparmor: where the kernel has it on, the engine starts no container without its parser
    need docker.io apparmor
}

need_python() {
    "${PYTHON:-python3}" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))' 2>/dev/null && return 0
    [ -z "${PYTHON:-}" ] || fail "PYTHON=$PYTHON is older than 3.9 or cannot make a venv"
    need python3 python3-venv
}

install_missing() {
    [ "${#missing[@]}" -gt 0 ] || { say "nothing to install"; return 0; }
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || fail "missing: ${missing[*]}. Neither root nor sudo here: have them installed (apt-get install ${missing[*]})"
        as_root=(sudo)
    fi
    command -v apt-get >/dev/null || fail "missing (Debian's names): ${missing[*]}. No apt-get here: install them by hand"
    say "installing Debian packages: ${missing[*]}"
    "${as_root[@]}" apt-get update -q >&2
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >&2
}

# A toolchain is the user's choice, so none is installed here.
check_rust() {
    local hint="needed: Rust $rust_needed or later (Debian's is too old). Install it from https://rustup.rs and open a new shell"
    command -v cargo >/dev/null || fail "no cargo found; $hint"
    local version
    version=$(cargo --version | cut -d' ' -f2)
    [ "$(printf '%s\n' "$rust_needed" "$version" | sort -V | head -n 1)" = "$rust_needed" ] || fail "cargo is $version; $hint"
}

check_rust
need gcc libc6-dev pkg-config libssl-dev libsqlite3-dev libzstd-dev
if [ "$mode" = tokens ]; then
    need softhsm2 opensc libnss3 libnss3-tools dbus-daemon dbus-bin
elif [ "$mode" != build ]; then
    need softhsm2 busybox-static
    need_engine
fi
if [ "$mode" = readme ]; then
    need debootstrap
fi
if [ "$mode" = test ] || [ "$mode" = readme ]; then
    # opensc: pkcs11-spy counts calls; p11-kit: a token in another process
    # g++: libFuzzer is C++
    # strace: the order of system calls
    # golang-go: the reader of archives that engines have
    # libengine-pkcs11-openssl: requests for certificates of keys in the token
    # groff-base: manual pages
    # openssl, openssh-client: keys and certificates of other kinds; libnss3, libnss3-tools: a token that does OAEP with SHA-512 itself
    need opensc opensc-pkcs11 p11-kit p11-kit-modules strace g++ skopeo golang-go openssl openssh-client groff-base libengine-pkcs11-openssl libnss3 libnss3-tools
    need_python
fi
install_missing
if [ "$mode" = test ] || [ "$mode" = readme ]; then
    scripts/venv.sh
fi
if [ "$mode" = test ]; then
    # Only the tests of that engine need it; they fail without it, and the others need not.
    scripts/next-engine.sh unpack || say "the tests on Docker of Debian's next release will fail"
fi
