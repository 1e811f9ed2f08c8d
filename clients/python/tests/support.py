"""What the tests get from their environment: a running station, trains for it, and an engine."""

import os

import docker

ADDRESS = os.environ["STATIONMASTER_ADDRESS"]
STATION = os.environ["TEST_STATION"]
#: Sealed trains, one for each test that opens one.
TRAINS = os.environ["TEST_TRAINS"].split()
#: Where mutual TLS is served, and its files.
TCP = os.environ["TEST_TCP"]
PKI = os.environ["TEST_PKI"]

RESULT = b"a result\n"


def tls():
    return {name: os.path.join(PKI, file) for name, file in (("tls_ca", "ca.pem"), ("tls_cert", "client.pem"), ("tls_key", "client.key"))}


def execute(image, script="echo 'a result' > /opt/pht_results/python"):
    """Runs a train as a station does: a container without network, whose state becomes the image."""
    engine = docker.from_env()
    container = engine.containers.create(image, ["/bin/sh", "-euc", script], network_disabled=True)
    try:
        container.start()
        ended = container.wait()
        if ended["StatusCode"] != 0:
            raise RuntimeError("the train failed")
        repository, tag = image.rsplit(":", 1)
        container.commit(repository, tag)
    finally:
        container.remove(force=True)
