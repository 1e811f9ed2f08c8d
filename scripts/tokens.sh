#!/usr/bin/env bash
# Runs the keystore's suite on every kind of token that tests have, and prints what each can do.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/token-modules.sh
target=${CARGO_TARGET_DIR:-target}
outcomes=$target/tmp/token-suite
rm -rf "$outcomes"
export STATIONMASTER_TOKENS=$PWD/target/tokens

# The binary of the tests, as cargo names it.
built=$(cargo test --profile quick --locked --features crash-points -p stationmaster -p stationmaster-keystore --lib --no-run --message-format=json-render-diagnostics |
    grep '"name":"stationmaster_keystore"' | grep -o '"executable":"[^"]*"' | cut -d'"' -f4)
libraries=$(rustc --print sysroot)/lib

failed=()
on() { # a name of the suite, and what runs before the tests
    local name=$1
    shift
    echo "== $name"
    "$@" "$built" "tests::suite::$name::" --include-ignored --test-threads=1 || failed+=("$name")
}

export LD_LIBRARY_PATH=$libraries
on softhsm env
on nss env
on kryoptic env
scripts/token-table.sh "$outcomes"
[ "${#failed[@]}" = 0 ] || { echo "tokens: tests failed on: ${failed[*]}" >&2; exit 1; }
