"""The train's cryptography, with `cryptography` alone: what central, builder and creator need. No code of train_lib."""

import hashlib
import os

from cryptography.hazmat.primitives import hashes, padding as block_padding, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

OAEP_SHA512 = padding.OAEP(mgf=padding.MGF1(hashes.SHA512()), algorithm=hashes.SHA512(), label=None)
BLOCK = 16


def new_key(bits):
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def private_pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def public_pem(key, form="spki"):
    formats = {"spki": serialization.PublicFormat.SubjectPublicKeyInfo, "pkcs1": serialization.PublicFormat.PKCS1}
    return key.public_key().public_bytes(serialization.Encoding.PEM, formats[form])


def load_private(path):
    with open(path, "rb") as file:
        return serialization.load_pem_private_key(file.read(), password=None)


def load_public(hex_pem):
    return serialization.load_pem_public_key(bytes.fromhex(hex_pem))


def seal(key, iv, plain):
    padder = block_padding.PKCS7(BLOCK * 8).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return iv + encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()


def open_sealed(key, sealed):
    decryptor = Cipher(algorithms.AES(key), modes.CBC(sealed[:BLOCK])).decryptor()
    unpadder = block_padding.PKCS7(BLOCK * 8).unpadder()
    padded = decryptor.update(sealed[BLOCK:]) + decryptor.finalize()
    return unpadder.update(padded) + unpadder.finalize()


def sha512(*parts):
    digest = hashlib.sha512()
    for part in parts:
        digest.update(part)
    return digest.digest()


def immutable_digest(creator_id, files, file_list, session_id, query):
    """`files`: plain content by the name that `file_list` uses, less a leading `./`."""
    contents = [files[name[2:] if name.startswith("./") else name] for name in file_list]
    return sha512(str(creator_id).encode(), *contents, session_id, query or b"")


def sign_message(key, message):
    return key.sign(message, padding.PKCS1v15(), hashes.SHA512())


def verify_message(public_key, signature, message):
    public_key.verify(signature, message, padding.PKCS1v15(), hashes.SHA512())


def longest_salt(public_key):
    return (public_key.key_size + 6) // 8 - 66


def verify_digest(public_key, signature, digest):
    """PSS over a ready digest, with exactly the longest salt: the length is given as a number, because newer versions of
    `cryptography` take MAX_LENGTH for any length."""
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA512()), salt_length=longest_salt(public_key))
    public_key.verify(signature, digest, pss, utils.Prehashed(hashes.SHA512()))


def wrap(public_key, key):
    return public_key.encrypt(key, OAEP_SHA512)


def unwrap(private_key, wrapped):
    return private_key.decrypt(wrapped, OAEP_SHA512)


def random_bytes(count):
    return os.urandom(count)
