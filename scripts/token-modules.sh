#!/usr/bin/env bash
# The tokens of `make tokens`, in target/tokens: nothing is installed, nothing of the system changes.
#
#   token-modules.sh   download Debian's packages with apt, unpack them (once), and build Kryoptic
set -euo pipefail
cd "$(dirname "$0")/.."

# libclang reads OpenSSL's headers when Kryoptic is built.
packages=(libclang-dev swtpm libtpm2-pkcs11-1 tpm2-abrmd libtss2-tcti-tabrmd0 libtss2-tcti-swtpm0 opencryptoki)
out=$PWD/target/tokens
root=$out/root

say() { echo "token-modules: $*" >&2; }
fail() { say "$@"; exit 1; }

unpack() {
    local stamp wanted package
    stamp=$(sha256sum "$0")
    [ "$(cat "$out/.stamp" 2>/dev/null)" != "$stamp" ] || return 0
    command -v apt-get >/dev/null || fail "the tokens are Debian's packages (${packages[*]}), and there is no apt-get here"
    # What would be installed, without what would only be renewed; device managers are for real TPMs.
    wanted=$(apt-get install --simulate --no-install-recommends "${packages[@]}" |
        awk '/^Inst/ && $3 !~ /^\[/ { sub(/\(/, "", $3); print $2 "=" $3 }' | grep -vE '^(tpm-)?udev=')
    say "unpacking into ${root#"$PWD"/}: ${packages[*]}, and what they need"
    rm -rf "$root" "$out/packages"
    mkdir -p "$root" "$out/packages"
    # shellcheck disable=SC2086
    (cd "$out/packages" && apt-get -q -o APT::Sandbox::User="$(id -un)" download $wanted) >"$out/log" 2>&1 ||
        { tail -n 5 "$out/log" >&2; fail "apt does not download the packages, see above (its lists may be old: apt-get update)"; }
    for package in "$out"/packages/*.deb; do dpkg-deb -x "$package" "$root"; done
    rm -rf "$out/packages"
    echo "$stamp" >"$out/.stamp"
}

# Outside the workspace: its dependencies are no one else's.
build_kryoptic() {
    local clang=("$root"/usr/lib/llvm-*/lib) libraries=("$root"/usr/lib/*-linux-gnu*)
    LIBCLANG_PATH=${clang[0]} LD_LIBRARY_PATH=${libraries[0]} OSSL_BINDGEN_CLANG_ARGS="-I$(gcc -print-file-name=include)" \
        cargo build --manifest-path tests/kryoptic/Cargo.toml --locked --target-dir "$out/kryoptic"
}

unpack
build_kryoptic
