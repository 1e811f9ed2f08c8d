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
    local name=$1 test
    shift
    echo "== $name"
    # A process for each test: what a module leaves behind in one is not another's.
    # shellcheck disable=SC2016
    "$@" bash -c '
        status=0
        for test in $("$0" --list "tests::suite::$1::" --include-ignored | sed -n "s/: test$//p"); do
            timeout 300 "$0" "$test" --exact --include-ignored >"$2" 2>&1 && echo "ok      $test" || { echo "FAILED  $test"; tail -n 15 "$2"; status=1; }
        done
        exit $status' "$built" "$name" "$target/tmp/token-test.log" || failed+=("$name")
}

unpacked=("$STATIONMASTER_TOKENS"/root/usr/lib/*-linux-gnu*)
export LD_LIBRARY_PATH=$libraries
on softhsm env
on nss env
on kryoptic env
on tpm env "LD_LIBRARY_PATH=$libraries:${unpacked[0]}:${unpacked[0]}/swtpm"
on opencryptoki scripts/opencryptoki.sh "$STATIONMASTER_TOKENS/root"
scripts/token-table.sh "$outcomes"
[ "${#failed[@]}" = 0 ] || { echo "tokens: tests failed on: ${failed[*]}" >&2; exit 1; }
