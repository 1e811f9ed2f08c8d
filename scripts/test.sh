#!/usr/bin/env bash
# Checks the code, runs every test, and every bench in its short form. cargo-nextest is used where it is installed; the tests do not depend on it.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/lint.sh --offline

target=${CARGO_TARGET_DIR:-target}
counts=$target/tmp/counts
report=$target/nextest/default/junit.xml
rm -rf "$counts" "$target/tmp/tokens" "$target/tmp/token-suite" "$report"
what=(--locked --features crash-points --lib --bins --tests)
if cargo nextest --version >/dev/null 2>&1; then
    if ! cargo nextest run --cargo-profile quick "${what[@]}"; then
        [ -f "$report" ] || exit 1
        scripts/longest-tests.sh "$report"
        # Once more at the end and short, because a service's log may be long: where each test failed and what it said.
        awk '/<testcase /{ name = $2 } /panicked at/ && !/<failure/{ print name; print "    " substr($0, 1, 200); getline; print "    " substr($0, 1, 600) }' \
            "$report"
        exit 1
    fi
else
    # Most integration tests wait for services and engines of their own: as many at a time as in .config/nextest.toml.
    cargo test --profile quick "${what[@]}" -- --test-threads=6
fi
# Examples in the documentation, of which some must not compile.
cargo test --profile quick --locked --features crash-points --doc
# The same profile and features, so that nothing is compiled twice.
cargo bench --profile quick --locked --features crash-points --bench pure -- --test
cargo bench --profile quick --locked --features crash-points --bench performance -- --short
cat "$counts"/*
scripts/token-table.sh "$target/tmp/token-suite"
if [ -f "$report" ]; then
    scripts/longest-tests.sh "$report"
else
    echo "The times of the tests are listed where cargo-nextest is installed."
fi
