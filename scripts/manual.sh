#!/usr/bin/env bash
# Writes the manual pages and the completions of a stationmaster binary below a directory, in the layout of /usr/share.
#
#   manual.sh BINARY DIRECTORY
set -euo pipefail
binary=$1 share=$2
rm -rf "$share/man/man1"
"$binary" man "$share/man/man1" >/dev/null
complete() {
    mkdir -p "$(dirname "$share/$2")"
    "$binary" completions "$1" >"$share/$2"
}
complete bash bash-completion/completions/stationmaster
complete zsh zsh/vendor-completions/_stationmaster
complete fish fish/vendor_completions.d/stationmaster.fish
