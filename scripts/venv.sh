#!/usr/bin/env bash
# Makes a virtual environment for each version of train_lib that the tests talk to, under target/peer/.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}

for version in 2.0.5 2.0.6a0; do
    venv=$PWD/target/peer/$version
    requirements=tests/peer/requirements-$version.txt
    stamp=$({ "$python" -VV; cat "$requirements"; } | sha256sum)
    if [ "$(cat "$venv/.stamp" 2>/dev/null)" = "$stamp" ] && "$venv/bin/python" -c '' 2>/dev/null; then continue; fi
    echo "setup: making ${venv#"$PWD"/} with train_lib $version from PyPI" >&2
    rm -rf "$venv"
    "$python" -m venv "$venv"
    # --no-deps: the lists are complete for what we run. train_lib also declares pandas, pendulum and a FHIR client, which
    # its security protocol never imports.
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: -r "$requirements"
    echo "$stamp" >"$venv/.stamp"
done
