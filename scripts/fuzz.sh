#!/usr/bin/env bash
# Builds the fuzzer and runs it: everything in stationmaster that reads foreign bytes, one line a target, and the sum at the end.
#
#   fuzz.sh short             every target, a fixed number of inputs: the first part of `make fuzz`
#   fuzz.sh long [TARGET…]    SECONDS_EACH (60) for each target, on from the corpus of last time; one at a time, or JOBS of them
#   fuzz.sh build             only builds
#
# What breaks a promise is kept in target/fuzz/found/TARGET; docs/fuzzing.md says what to do with it.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=${1:-}
shift || true
seconds=${SECONDS_EACH:-60}
jobs=${JOBS:-1}
runs=${RUNS:-100000}
work=$PWD/target/fuzz

# The profile that tests are built with: of all dependencies, only libFuzzer is new. The crates are optimised, unlike for tests.
optimised=()
for crate in stationmaster stationmaster-{image,keystore,proto,system,train}; do
    optimised+=(--config "profile.quick.package.$crate.opt-level=1")
done
RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/sancov-rustc.sh cargo build "${optimised[@]}" --profile quick --locked --package stationmaster-fuzz
fuzzer=${CARGO_TARGET_DIR:-target}/quick/stationmaster-fuzz
fuzzer=$(realpath "$fuzzer")

case $mode in
    short) limit=(-seed=1 -runs="$runs") ;;
    # A second is a processor's second only on an idle machine: this gate is not part of the short run.
    long) limit=(-max_total_time="$seconds" -timeout=1) ;;
    build) exit 0 ;;
    *) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac

rm -rf "$work/seeds"
mkdir -p "$work/logs"
"$fuzzer" seeds "$work/seeds"

# Runs one target. The short run starts from seeds and known findings alone, so that it is the same run every time.
one() { # TARGET
    local name=$1 status=0 corpus=$work/corpus/$1 found=$work/found/$1
    [ "$mode" = long ] || corpus=$work/short/$name
    [ "$mode" = long ] || rm -rf "$corpus"
    mkdir -p "$corpus" "$found"
    local folders=("$corpus" "$work/seeds/$name")
    [ ! -d "fuzz/regressions/$name" ] || folders+=("fuzz/regressions/$name")
    "$fuzzer" "$name" "${limit[@]}" -rss_limit_mb=256 -print_final_stats=1 -artifact_prefix="$found/" "${folders[@]}" \
        >"$work/logs/$name.log" 2>&1 || status=$?
    echo "$status" >"$work/logs/$name.status"
}

targets=("$@")
[ "$#" -gt 0 ] || mapfile -t targets < <("$fuzzer" list)
for name in "${targets[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
    one "$name" &
done
wait

total=0
failures=0
for name in "${targets[@]}"; do
    log=$work/logs/$name.log
    count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    # Without a DONE line it broke off; the last line with a count says where.
    [ -n "$count" ] || count=$(sed -n 's/^#\([0-9]*\).*/\1/p' "$log" | tail -n 1)
    coverage=$(sed -n 's/^#.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    memory=$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")
    failed=0
    [ "$(cat "$work/logs/$name.status")" = 0 ] || failed=1
    printf 'fuzz: %-12s %10d executions, %5d edges, %4s MiB at most, failures %d\n' \
        "$name" "${count:-0}" "${coverage:-0}" "${memory:-?}" "$failed"
    if [ "$failed" = 1 ]; then
        grep -aE 'panicked|ERROR|Test unit|^  *(left|right):' -A 1 "$log" | cut -c1-300 | head -n 20 || true
    fi
    total=$((total + ${count:-0}))
    failures=$((failures + failed))
done
echo "fuzz: ${#targets[@]} targets, $total fuzz executions; failures $failures"
[ "$failures" = 0 ]
