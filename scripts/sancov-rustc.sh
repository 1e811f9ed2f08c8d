#!/usr/bin/env bash
# A RUSTC_WORKSPACE_WRAPPER: compiles our library and the fuzzer with the counters that libFuzzer reads, and with every overflow and
# assertion checked. Dependencies are not recompiled for it, and build scripts are left alone: they have no fuzzer to report to.
set -euo pipefail
rustc=$1
shift
crate=''
previous=''
for argument in "$@"; do
    [ "$previous" != --crate-name ] || crate=$argument
    previous=$argument
done
case $crate in
    stationmaster | stationmaster_*) ;;
    *) exec "$rustc" "$@" ;;
esac
exec "$rustc" "$@" \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cdebug-assertions=on -Coverflow-checks=on
