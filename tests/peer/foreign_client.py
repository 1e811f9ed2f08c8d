"""A gRPC client that knows nothing but the server's reflection: no generated code, no proto files. One JSON line on stdout;
exit status 1 when a call was refused, with the gRPC code and the ErrorInfo reason.

    foreign_client.py --target unix:/run/x.sock --label LABEL [--scheme RSA_PSS_SHA256] [--message TEXT]
    foreign_client.py --target localhost:8443 --ca CA --cert CERT --key KEY [--server-name NAME] --label LABEL …
    foreign_client.py --target … --list
"""

import argparse
import hashlib
import json
import sys

import grpc
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

import sealing

PACKAGE = "stationmaster.v1."
KEY_SERVICE = PACKAGE + "KeyService"
HASHES = {"SHA256": hashes.SHA256(), "SHA384": hashes.SHA384(), "SHA512": hashes.SHA512()}


def connect(given):
    if not given.ca:
        # Without options: on a Unix socket grpcio sends the socket's path as the authority (grpc/grpc#38142), and is served.
        return grpc.insecure_channel(given.target)

    def read(path):
        with open(path, "rb") as file:
            return file.read()

    credentials = grpc.ssl_channel_credentials(
        read(given.ca), read(given.key) if given.key else None, read(given.cert) if given.cert else None
    )
    options = [("grpc.ssl_target_name_override", given.server_name)] if given.server_name else []
    return grpc.secure_channel(given.target, credentials, options)


class Reflected:
    """Unary calls by name, with the types that the server describes."""

    def __init__(self, channel, timeout):
        self.channel = channel
        self.timeout = timeout
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.pool = DescriptorPool(self.database)

    def services(self):
        return sorted(self.database.get_services())

    def methods(self, service):
        return [method.name for method in self.pool.FindServiceByName(service).methods]

    def call(self, service, method, **fields):
        described = self.pool.FindServiceByName(service).FindMethodByName(method)
        request = message_factory.GetMessageClass(described.input_type)(**fields)
        answer = message_factory.GetMessageClass(described.output_type)
        unary = self.channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return unary(request, timeout=self.timeout)


def verify(public_key, scheme, signature, message, digest):
    """With the salt length that the scheme's name promises, exactly."""
    if scheme == "ED25519":
        return public_key.verify(signature, message)
    if scheme.startswith("ECDSA_"):
        _, curve, hash_name = scheme.split("_")
        assert public_key.curve.name == {"P256": "secp256r1", "P384": "secp384r1"}[curve]
        return public_key.verify(signature, digest, ec.ECDSA(utils.Prehashed(HASHES[hash_name])))
    _, kind, hash_name, *longest = scheme.split("_", 3)
    algorithm = HASHES[hash_name]
    if kind == "PKCS1":
        how = padding.PKCS1v15()
    else:
        salt = sealing.longest_salt(public_key) if longest else algorithm.digest_size
        how = padding.PSS(mgf=padding.MGF1(algorithm), salt_length=salt)
    public_key.verify(signature, digest, how, utils.Prehashed(algorithm))


def sign(server, label, scheme, message):
    key = server.call(KEY_SERVICE, "GetKey", label=label).key
    digest = None if scheme == "ED25519" else hashlib.new(scheme.split("_")[2].lower(), message).digest()
    what = {"message": message} if digest is None else {"digest": digest}
    signed = server.call(KEY_SERVICE, "Sign", key_label=label, scheme=f"SIGNATURE_SCHEME_{scheme}", **what)
    public_key = serialization.load_pem_public_key(key.public_key_pem.encode())
    verify(public_key, scheme, signed.signature, message, digest)
    return {
        "label": label,
        "scheme": scheme,
        "bits": key.bits,
        "fingerprint": key.fingerprint,
        "signature": signed.signature.hex(),
        "verified": True,
    }


def refusal(error):
    answer = {"error": "RpcError", "code": error.code().name, "message": error.details(), "reason": None}
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            answer.update(reason=info.reason, domain=info.domain, metadata=dict(info.metadata))
    return answer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--target", required=True)
    parser.add_argument("--ca")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--server-name")
    parser.add_argument("--timeout", type=float, default=30)
    parser.add_argument("--list", action="store_true", help="only list services and methods")
    parser.add_argument("--label")
    parser.add_argument("--scheme", default="RSA_PSS_SHA256", help="a SignatureScheme, less its prefix")
    parser.add_argument("--message", default="signed for a foreign client")
    given = parser.parse_args()
    if not given.list and not given.label:
        parser.error("--label or --list")

    with connect(given) as channel:
        try:
            server = Reflected(channel, given.timeout)
            services = server.services()
            ours = [service for service in services if service.startswith(PACKAGE)]
            answer = {"services": services, "methods": {service: server.methods(service) for service in ours}}
            if not given.list:
                answer.update(sign(server, given.label, given.scheme, given.message.encode()))
        except grpc.RpcError as error:
            print(json.dumps(refusal(error)))
            return 1
        except Exception as error:
            print(json.dumps({"error": type(error).__name__, "message": str(error)}))
            return 1
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
