#!/bin/sh
# Makes a private SoftHSM token, once: running it again changes nothing.
#
#   softhsm/init.sh DIR LABEL PIN_FILE [SO_PIN_FILE]
#
# DIR gets tokens/ (0700) and softhsm2.conf. PIN_FILE is read, or made with a random PIN when it is missing; the security
# officer's PIN likewise (default: DIR/so-pin). Prints the line that a shell needs to see the token.
#
# PINs are given to softhsm2-util on its standard input through a terminal when `script` is there; otherwise they pass
# through its command line for an instant, which is tolerable on a development machine only. `stationmaster token init`
# never does that.
set -eu

if [ $# -lt 3 ] || [ $# -gt 4 ]; then
    echo "usage: $0 DIR LABEL PIN_FILE [SO_PIN_FILE]" >&2
    exit 64
fi

umask 077
mkdir -p "$1/tokens"
dir=$(cd "$1" && pwd)
label=$2
pin_file=$3
so_pin_file=${4:-$dir/so-pin}
here=$(cd "$(dirname "$0")" && pwd)

escaped=$(printf '%s' "$dir/tokens" | sed 's/[&|\\]/\\&/g')
sed "s|@TOKENDIR@|$escaped|" "$here/softhsm2.conf.in" >"$dir/softhsm2.conf"
SOFTHSM2_CONF=$dir/softhsm2.conf
export SOFTHSM2_CONF

for file in "$pin_file" "$so_pin_file"; do
    if [ ! -e "$file" ]; then
        od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$file"
    fi
done

# softhsm2-util pads the label with blanks.
present() {
    softhsm2-util --show-slots | sed -n 's/^ *Label: *//p' | sed 's/ *$//' | grep -Fxq -- "$label"
}

if present; then
    echo "token \"$label\" is there already" >&2
else
    pin=$(cat "$pin_file")
    so_pin=$(cat "$so_pin_file")
    if command -v script >/dev/null 2>&1; then
        # softhsm2-util asks for: SO PIN, again, user PIN, again.
        LABEL=$label
        export LABEL
        printf '%s\n%s\n%s\n%s\n' "$so_pin" "$so_pin" "$pin" "$pin" |
            timeout 20 script -qec 'stty -echo; softhsm2-util --init-token --free --label "$LABEL"' /dev/null >/dev/null || :
    fi
    if ! present; then
        softhsm2-util --init-token --free --label "$label" --pin "$pin" --so-pin "$so_pin" >/dev/null
    fi
    present || { echo "the token was not made" >&2; exit 1; }
    echo "token \"$label\" made" >&2
fi
echo "export SOFTHSM2_CONF='$dir/softhsm2.conf'"
