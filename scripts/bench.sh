#!/usr/bin/env bash
# Measures with a release build. What is given is for benches/performance; without anything, the pure parts are measured first.
set -euo pipefail
cd "$(dirname "$0")/.."

# Both are built before anything is measured. The feature is for the bench of OAEP, and in every command so that nothing is built twice.
cargo bench --locked --features fuzzing --no-run --bench pure --bench performance
[ $# -gt 0 ] || cargo bench --locked --features fuzzing --bench pure
cargo bench --locked --features fuzzing --bench performance -- "$@"
