#!/bin/sh
# The tests' algorithm. Every run adds to what earlier stops left, so that the last results prove that each stop saw the one
# before; the names are those on which a wrong file order shows.
set -eu

train=/opt/pht_train
cd /opt/pht_results
. "$train/lib/part.sh"

stop=0
[ ! -f log.txt ] || stop=$(wc -l <log.txt)

query=none
[ ! -f "$train/query.json" ] || query=$(sha256sum <"$train/query.json" | cut -c 1-16)
data=$(sha256sum <"$train/data.bin" | cut -c 1-16)
echo "stop $stop query $query data $data" >>log.txt

# By components `a` comes first with all that is in it; by whole strings `a!`, `a-b` and `a.txt` come before `a/b`.
mkdir -p a/b
add_line a/b/c.txt "$stop"
add_line 'a!' "$stop"
add_line a-b "$stop"
add_line a.txt "$stop"
chmod 0750 a/b/c.txt
chown 1000:1001 a/b/c.txt

: >empty.txt

# A plaintext that is easy to look for in the layers of the sealed image.
echo "PLAINTEXT-CANARY-RESULT-$stop" >"canary-$stop.txt"

# For the tests of memory: results of any size.
[ -z "${BULK_MIB:-}" ] || dd if=/dev/zero of=bulk.bin bs=1048576 count="$BULK_MIB" 2>/dev/null
