#!/usr/bin/env bash
# The test peer on its own: routes of train_lib stations only, with both versions, from builder to creator.
set -euo pipefail
cd "$(dirname "$0")"

python_205=${STATIONMASTER_PEER_205:?}
python_206=${STATIONMASTER_PEER_206:?}
work=$(mktemp -d)
repo=stationmaster-selftest/$$
cleanup() {
    "$python_205" peer.py remove --repo "$repo" >/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

field() { "$python_205" -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

bits=(2048 3072 4096)
stations='['
for stop in 0 1 2; do
    hex=$("$python_205" peer.py make-key --bits "${bits[stop]}" --out "$work/station-$stop.pem" | field public_key_hex_pem)
    stations+="{\"id\":\"station-$stop\",\"public_key_hex_pem\":\"$hex\"},"
done
stations="${stations%,}]"

passed=0
route() { # MODE QUERY PYTHON PYTHON PYTHON
    local mode=$1 query=$2 stop=0 hashes=() python opened
    shift 2
    "$python_205" peer.py make-train --repo "$repo" --files algorithm --stations - --work "$work" \
        ${query:+--query "$query"} <<<"$stations" >/dev/null
    for python in "$@"; do
        local who=(--station "station-$stop" --key "$work/station-$stop.pem" --image "$repo:latest")
        "$python" peer.py pre-run "${who[@]}" --config-out "$work/config.json" >/dev/null
        "$python" peer.py run-train --image "$repo:latest" --mode "$mode" >/dev/null
        "$python" peer.py post-run "${who[@]}" --config "$work/config.json" >/dev/null
        opened=$("$python_205" peer.py open-results --image "$repo:latest" --key "$work/creator.pem" \
            --expect "$work/train.json" --earlier-result-hashes "${hashes[@]}")
        stop=$((stop + 1))
        [ "$(field stops_signed <<<"$opened")" = "$stop" ]
        hashes+=("$(field result_hash <<<"$opened")")
    done
    "$python_205" - "$opened" <<'PYTHON'
import base64, json, sys
files = {name: base64.b64decode(data) for name, data in json.loads(sys.argv[1])["files"].items()}
assert files["log.txt"].count(b"\n") == 3 and files["empty.txt"] == b"", files
assert files["a/b/c.txt"] == b"c.txt of stop 0\nc.txt of stop 1\nc.txt of stop 2\n", files
PYTHON
    local needles=()
    for text in PLAINTEXT-CANARY-CODE PLAINTEXT-CANARY-RESULT; do needles+=("$(printf %s "$text" | od -An -tx1 | tr -d ' \n')"); done
    [ "$("$python_205" peer.py layers-scan --image "$repo:latest" --needle "${needles[@]}" | field hits)" = '[]' ]
    passed=$((passed + 1))
    echo "ok: three stops, $mode, ${query:-no query}"
}

route dag query.json "$python_206" "$python_206" "$python_206"
route commit query.json "$python_205" "$python_206" "$python_205"
route dag '' "$python_205" "$python_205" "$python_205"

# A refusal is one JSON line and status 1.
refused=$("$python_206" peer.py pre-run --station nobody --key "$work/station-0.pem" --image "$repo:latest" 2>/dev/null) && exit 1
[ "$(field error <<<"$refused")" = ValidationError ]
passed=$((passed + 1))
echo "$passed passed, 0 failed"
