#!/usr/bin/env bash
# Docker engine at hand: the one that answers, or one started for a command and ended with it.
#
#   engine.sh answers        exit 0: an engine answers; 13: one is there but not for this user; 1: none
#   engine.sh with -- CMD…   run CMD with an engine
#
# An engine that already runs is used as it is, never reconfigured and never stopped.
set -euo pipefail
cd "$(dirname "$0")/.."

default_host=unix:///var/run/docker.sock
run=$PWD/target/engine
private_host=unix://$run/docker.sock
host=${DOCKER_HOST:-$default_host}

sudo=
[ "$(id -u)" = 0 ] || sudo="sudo -E"

say() { echo "engine: $*" >&2; }

# Perl, because Debian's perl-base is always there and neither curl nor docker's client is.
answers() { # HOST
    case $1 in
        unix://*) ;;
        *) return 0 ;; # set by hand (TCP, SSH): taken at its word
    esac
    perl -MIO::Socket::UNIX -MErrno=EACCES -e '
        my $engine = IO::Socket::UNIX->new(Peer => $ARGV[0]) or exit($!{EACCES} ? 13 : 1);
        local $SIG{ALRM} = sub { exit 1 };
        alarm 10;
        print $engine "GET /_ping HTTP/1.0\r\n\r\n";
        $engine->flush;
        exit(<$engine> =~ m{^HTTP/\S+ 200} ? 0 : 1);
    ' "${1#unix://}"
}

# The same user with the socket's group added: nothing that the command writes belongs to root.
with_socket_group() { # CMD…
    local group
    group=$(stat -L -c %g "${host#unix://}")
    exec sudo -E setpriv --reuid="$(id -u)" --regid="$(id -g)" --groups="$(id -G | tr ' ' ,),$group" \
        env PATH="$PATH" HOME="$HOME" "$@"
}

launched='' # what we waited on: dockerd, or the sudo in front of it
child=''

engine_pid() { cat "$run/dockerd.pid" 2>/dev/null || true; }

# dockerd in its own session and with its own output, so that it holds nothing of the caller's.
start_engine() { # extra dockerd options
    mkdir -p "$run"
    rm -f "$run/dockerd.pid"
    local group=()
    [ -z "$sudo" ] || group=(--group "$(id -g)")
    # shellcheck disable=SC2086 # $sudo is nothing or two words
    $sudo setsid dockerd --host "$host" --pidfile "$run/dockerd.pid" "${group[@]}" "$@" \
        </dev/null >"$run/dockerd.log" 2>&1 &
    launched=$!
    local tries=40
    while [ "$tries" -gt 0 ]; do
        if answers "$host"; then return 0; fi
        kill -0 "$launched" 2>/dev/null || break
        sleep 0.5
        tries=$((tries - 1))
    done
    end_engine
    return 1
}

end_engine() {
    local pid children='' tries=60
    pid=$(engine_pid)
    [ -n "$pid" ] || pid=$launched
    [ -n "$pid" ] || return 0
    children=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null || true)
    $sudo kill -TERM "$pid" 2>/dev/null || true
    while [ -d "/proc/$pid" ] && [ "$tries" -gt 0 ]; do
        sleep 0.5
        tries=$((tries - 1))
    done
    if [ -d "/proc/$pid" ]; then
        say "dockerd ($pid) did not end in 30 s: killed"
        # shellcheck disable=SC2086 # its containerd is in a session of its own and would stay
        $sudo kill -KILL "$pid" $children 2>/dev/null || true
    fi
    wait "$launched" 2>/dev/null || true
    launched=''
}

on_signal() { # NAME
    if [ -n "$child" ]; then kill -s "$1" -- "-$child" 2>/dev/null || true; else exit 1; fi
}

with_engine() { # CMD…
    local refused=0
    answers "$host" || refused=$?
    if [ "$refused" = 0 ]; then exec "$@"; fi
    if [ "$refused" = 13 ]; then
        say "$host is not for $(id -un): its group is added with sudo"
        with_socket_group "$@"
    fi
    if [ -n "${DOCKER_HOST:-}" ]; then
        say "nothing answers at DOCKER_HOST=$DOCKER_HOST"
        exit 1
    fi
    PATH=$PATH:/usr/sbin:/sbin
    command -v dockerd >/dev/null || { say "no Docker engine answers and there is no dockerd: run scripts/setup.sh demo"; exit 1; }

    if [ -n "$sudo" ]; then
        host=$private_host
        export DOCKER_HOST=$host
        if answers "$host"; then exec "$@"; fi
    fi
    trap end_engine EXIT
    for name in INT TERM HUP; do
        # shellcheck disable=SC2064 # the name of now
        trap "on_signal $name" "$name"
    done
    say "starting dockerd (output: ${run#"$PWD"/}/dockerd.log)"
    # The second line is for machines whose kernel or container forbids overlayfs and firewall rules.
    start_engine ||
        { say "not with its defaults; once more without overlayfs, firewall and bridge" &&
            start_engine --storage-driver vfs --iptables=false --ip6tables=false --bridge=none; } ||
        { say "dockerd does not start:"; tail -n 5 "$run/dockerd.log" >&2; exit 1; }

    # A process group of its own, so that a signal to us can be passed on to all of the command before the engine goes.
    set -m
    "$@" </dev/null &
    child=$!
    set +m
    local status=0
    wait "$child" || status=$?
    while kill -0 "$child" 2>/dev/null; do # a signal ends `wait`, not the command
        status=0
        wait "$child" || status=$?
    done
    say "ending dockerd"
    exit "$status"
}

case ${1:-} in
    answers) answers "$host" ;;
    with)
        shift
        [ "${1:-}" != -- ] || shift
        with_engine "$@"
        ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
