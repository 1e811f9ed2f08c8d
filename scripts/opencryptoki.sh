#!/usr/bin/env bash
# Runs a command beside openCryptoki's daemon, in namespaces of their own: what the daemon needs in /etc, /var and /dev/shm is seen by the command only,
# and is gone when the command ends, as is every process. Needs root; another user becomes root of a user namespace.
#
#   opencryptoki.sh ROOT COMMAND …   with the packages unpacked in ROOT (scripts/token-modules.sh)
set -euo pipefail

if [ "${1:-}" != --inside ]; then
    [ -e "${1:-}/usr/sbin/pkcsslotd" ] && [ -n "${2:-}" ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
    as_root=()
    [ "$(id -u)" = 0 ] || as_root=(--user --map-root-user)
    exec unshare "${as_root[@]}" --mount --ipc --pid --fork --kill-child --mount-proc "$0" --inside "$@"
fi
root=$2
shift 2
# The upper layers of the overlays: a file system of its own, in a place that is empty in this namespace only.
upper=/mnt
mount -t tmpfs -o mode=0755 upper "$upper"
for place in etc var run usr/sbin; do
    mkdir -p "$upper/$place/changes" "$upper/$place/work"
    mount -t overlay -o "lowerdir=/$place,upperdir=$upper/$place/changes,workdir=$upper/$place/work" overlay "/$place"
done
mount -t tmpfs -o mode=1777 shm /dev/shm
grep -q '^pkcs11:' /etc/group || echo 'pkcs11:x:64000:root' >>/etc/group
mkdir -p /etc/opencryptoki /run/lock/opencryptoki/swtok /var/log/opencryptoki /var/lib/opencryptoki/swtok/TOK_OBJ
printf 'version opencryptoki-3.1\nslot 0\n{\nstdll = libpkcs11_sw.so\n}\n' >/etc/opencryptoki/opencryptoki.conf
chgrp -R pkcs11 /var/lib/opencryptoki /run/lock/opencryptoki /var/log/opencryptoki
chmod -R g+rwX /var/lib/opencryptoki /run/lock/opencryptoki /var/log/opencryptoki
libraries=("$root"/usr/lib/*/opencryptoki)
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}${libraries[0]%/*}:${libraries[0]}:${libraries[0]}/stdll PATH=$root/usr/sbin:$PATH
# Daemon and library make the key of the memory that they share from this file.
cp "$root/usr/sbin/pkcsslotd" /usr/sbin/
pkcsslotd
"$@"
