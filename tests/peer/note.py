"""Verifies a signed note (C2SP signed-note) as its specification has it, with no code of this project. One JSON line on stdout; exit
status 1 when the note is refused.

    note.py --note FILE --key PEM --name NAME
"""

import argparse
import base64
import hashlib
import json
import sys

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519


def key_id(name, public_key):
    spki = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        raw = public_key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return hashlib.sha256(name.encode() + b"\n\x01" + raw).digest()[:4]
    return hashlib.sha256(spki).digest()[:4]


def verify(note, public_key, name):
    if any(ord(letter) < 0x20 and letter != "\n" for letter in note):
        raise ValueError("a control character")
    text, signatures = note.rsplit("\n\n", 1)
    text += "\n"
    verified = 0
    for line in signatures.splitlines():
        dash, signer, encoded = line.split(" ")
        signature = base64.b64decode(encoded, validate=True)
        if dash != "\u2014" or signer != name or signature[:4] != key_id(name, public_key):
            continue
        if isinstance(public_key, ed25519.Ed25519PublicKey):
            public_key.verify(signature[4:], text.encode())
        else:
            public_key.verify(signature[4:], text.encode(), ec.ECDSA(hashes.SHA256()))
        verified += 1
    if verified == 0:
        raise ValueError("no signature of the key")
    origin, size, root = text.split("\n")[:3]
    return {"origin": origin, "size": int(size), "root": base64.b64decode(root, validate=True).hex(), "verified": verified}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ["--note", "--key", "--name"]:
        parser.add_argument(name, required=True)
    given = parser.parse_args()
    try:
        with open(given.key, "rb") as file:
            public_key = serialization.load_pem_public_key(file.read())
        with open(given.note, encoding="utf-8", newline="") as file:
            answer = verify(file.read(), public_key, given.name)
    except Exception as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}))
        return 1
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
