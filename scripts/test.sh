#!/usr/bin/env bash
# Runs every test. cargo-nextest is used where it is installed; the tests do not depend on it.
set -euo pipefail
cd "$(dirname "$0")/.."

what=(--locked --features crash-points --lib --bins --tests)
if cargo nextest --version >/dev/null 2>&1; then
    exec cargo nextest run --cargo-profile quick "${what[@]}"
fi
# Integration tests run engines, tokens and services: two at a time, as in .config/nextest.toml.
exec cargo test --profile quick "${what[@]}" -- --test-threads=2
