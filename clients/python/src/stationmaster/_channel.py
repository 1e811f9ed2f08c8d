"""Addresses and credentials."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, List, Optional, Tuple
from urllib.parse import urlsplit

import grpc

#: The service's socket, where a package installs it.
DEFAULT_ADDRESS = "unix:///run/stationmaster/api.sock"


@dataclass(frozen=True)
class Endpoint:
    """Where the service is, and who is asked to prove what. Paths are of PEM files."""

    address: str
    tls_ca: Optional[str] = None
    tls_cert: Optional[str] = None
    tls_key: Optional[str] = None

    @classmethod
    def of(
        cls,
        address: Optional[str] = None,
        tls_ca: Optional[str] = None,
        tls_cert: Optional[str] = None,
        tls_key: Optional[str] = None,
    ) -> Endpoint:
        """Takes what is not given from the environment, in the variables of the command line."""
        take = os.environ.get
        return cls(
            address or take("STATIONMASTER_ADDRESS") or DEFAULT_ADDRESS,
            tls_ca or take("STATIONMASTER_TLS_CA"),
            tls_cert or take("STATIONMASTER_TLS_CERT"),
            tls_key or take("STATIONMASTER_TLS_KEY"),
        )

    def target(self) -> str:
        """gRPC's name of the address."""
        parts = urlsplit(self.address)
        if parts.scheme == "unix":
            return f"unix:{parts.path}"
        if parts.scheme == "https" and parts.hostname:
            host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
            return f"{host}:{parts.port or 443}"
        raise ValueError(f"{self.address!r} is no address: unix:///PATH or https://HOST:PORT")

    def options(self) -> List[Tuple[str, Any]]:
        options: List[Tuple[str, Any]] = [
            # An outcome contains the query, and an archive comes in pieces.
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.enable_retries", 0),
        ]
        if self.target().startswith("unix:"):
            # grpcio would send the socket's path, which is no authority of HTTP.
            options.append(("grpc.default_authority", "localhost"))
        return options

    def credentials(self) -> Optional[grpc.ChannelCredentials]:
        if self.target().startswith("unix:"):
            return None
        if not self.tls_ca or not self.tls_cert or not self.tls_key:
            raise ValueError(
                "an https address needs the authority's certificate, and a certificate and key of this client: "
                "tls_ca, tls_cert, tls_key, or STATIONMASTER_TLS_CA, STATIONMASTER_TLS_CERT, STATIONMASTER_TLS_KEY"
            )
        return grpc.ssl_channel_credentials(_read(self.tls_ca), _read(self.tls_key), _read(self.tls_cert))


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
