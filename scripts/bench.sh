#!/usr/bin/env bash
# Measures with a release build. What is given is for benches/performance; without anything, the pure parts are measured first.
set -euo pipefail
cd "$(dirname "$0")/.."

# Both are built before anything is measured.
cargo bench --locked --no-run --bench pure --bench performance
[ $# -gt 0 ] || cargo bench --locked --bench pure
cargo bench --locked --bench performance -- "$@"
