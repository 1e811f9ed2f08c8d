#!/usr/bin/env python3
"""Makes the vectors in tests/vectors with the real train_lib, the library every other station runs.

    python3 -m venv /tmp/peer
    /tmp/peer/bin/pip install 'pht-train-container-library==2.0.5' 'pydantic<2' cryptography
    /tmp/peer/bin/python scripts/make-vectors.py            write all vectors anew
    /tmp/peer/bin/python scripts/make-vectors.py --check    compare what does not depend on chance with the files

Keys are thrown away when the script ends: the files hold public keys, signatures, wrapped keys, and the symmetric keys of
trains that exist nowhere else. Writing anew changes every signature, so do it only when a case is added.
"""

import base64
import hashlib
import json
import os
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from loguru import logger
from train_lib.security.encryption import FileEncryptor
from train_lib.security.hashing import hash_immutable_files, hash_results
from train_lib.security.key_manager import KeyManager
from train_lib.security.protocol import SecurityProtocol
from train_lib.security.train_config import TrainConfig

VECTORS = Path(__file__).resolve().parent.parent / "tests" / "vectors"

# --- the config: one template, one field changed at a time ------------------------------------------------------------

TEMPLATE = (
    '{"source":{"type":@source.type@,"address":@source.address@,"tag":@source.tag@},'
    '"creator":{"id":@creator.id@,"rsa_public_key":"aa","paillier_public_key":@creator.paillier_public_key@,'
    '"encrypted_key":@creator.encrypted_key@},"proposal_id":@proposal_id@,"@id":@@id@,"@context":@@context@,'
    '"session_id":@session_id@,"route":[{"station":@route[0].station@,"eco_system":@route[0].eco_system@,'
    '"rsa_public_key":"bb","index":@route[0].index@,"signature":@route[0].signature@}],"file_list":[@file_list[0]@],'
    '"hash":@hash@,"signature":"","build":@build@,"result_hash":@result_hash@}'
)
DEFAULTS = {
    "source.type": '"docker_repository"',
    "source.address": '"a"',
    "source.tag": "null",
    "creator.id": '"u"',
    "creator.paillier_public_key": "null",
    "creator.encrypted_key": "null",
    "proposal_id": "1",
    "@id": '"t"',
    "@context": "null",
    "session_id": '"00"',
    "route[0].station": '"s"',
    "route[0].eco_system": '"tue"',
    "route[0].index": "0",
    "route[0].signature": "null",
    "file_list[0]": '"f"',
    "hash": '""',
    "build": '{"signature":"","rsa_public_key":"cc"}',
    "result_hash": "null",
}

SCALARS = ["0", "-1", "12.7", "-12.7", "-0.5", "1.0", "true", "false", "null", "[]", "{}", '"x"', '""', "1e20", "1.5e300"]
NUMBERS = ["-0", "-0.0", "1e16", "1e22", "1e-7", "0.0001", "0.00001", "123456789012345680.0", "12345678901234567890123",
           "9007199254740993", "9007199254740993.0", "1E2", "5e-324", "1.7976931348623157e308", "0.1", "1.5", "100.25"]
INT_TEXTS = ["0123", "1_000", " 7 ", "-5", "+5", "--5", "1__0", "_1", "1_", "12.7", "1e3", "0x10", "- 5", "-0", "000", "+0_0",
             "\t7\n", "\u0663", "1\u0663", "\uff11", "\u00b2", "\u00a07\u2003", "\u20287", "\u001c7\u001f", "\u00857", "\u200b7", "7\u0000",
             "\U0001d7d8", "\u0967\u0968", "\u06f1_2", "\u00a01_0\u3000", "+\u0663", "\u2212" + "5", "0d1", "1,0", "\ufeff7", "\u007f7", "\u00e97",
             "4294967296", "18446744073709551616", "550e8400-e29b-41d4-a716-446655440000"]
DIGITS = ["9" * 4300, "9" * 4301, "0" * 4300 + "1"]
TEXTS = ["plain", "\u00e4\u00f6\u00fc", "\u007f", "\u0080", "\U0001f600", "a\"b\\c/d<>&'", "\b\f\n\r\t\u0000\u001f", "\u2028\u2029", "\ufffe\uffff",
         "\U0010ffff"]
HEX = ["AA bb", "zz", "0", " 0a\n", "0123", "1e3"]


def quirks():
    """(field, raw JSON) pairs; what train_lib does with each is recorded."""
    for field in ("proposal_id", "creator.id", "route[0].station"):
        yield from ((field, raw) for raw in SCALARS)
    for raw in NUMBERS:
        yield "proposal_id", raw
        yield "@id", raw
        yield "@context", '{"n":%s}' % raw
    for text in INT_TEXTS:
        yield "proposal_id", json.dumps(text)
        yield "route[0].index", json.dumps(text)
    for digits in DIGITS:
        yield "proposal_id", json.dumps(digits)
        yield "@id", digits
    for field in ("@id", "source.address", "source.tag", "file_list[0]", "route[0].index", "creator.paillier_public_key",
                  "creator.encrypted_key", "session_id", "hash", "result_hash", "@context", "build", "route[0].signature"):
        yield from ((field, raw) for raw in SCALARS)
    for text in TEXTS:
        yield "@id", json.dumps(text)
        yield "@id", json.dumps(text, ensure_ascii=False)
        yield "@context", json.dumps({text: [text]})
    for text in HEX:
        for field in ("session_id", "creator.paillier_public_key", "result_hash"):
            yield field, json.dumps(text)
    for raw in ('"tue"', '"padme"', '"aac"', '"TUE"', "1", "null", '"tue "'):
        yield "route[0].eco_system", raw
    for raw in ('"git_repository"', '"docker"', "null", "1"):
        yield "source.type", raw
    for raw in ("1.9", "-0.9", "1e3", '"1_0"', "9223372036854775807", "9223372036854775808", "-9223372036854775808", "1e18"):
        yield "route[0].index", raw
    for raw in ('{"digest":"a","signature":"b"}', '{"signature":"b","x":1,"digest":"a"}', '{"digest":"a"}', '{"digest":"a","signature":null}',
                '{"digest":1,"signature":"b"}', '[["digest","a"],["signature","b"]]'):
        yield "route[0].signature", raw
    for raw in ('{"signature":"a"}', '{"signature":"a","rsa_public_key":null}', '[["signature","a"],["rsa_public_key","b"]]', '"x"'):
        yield "build", raw
    for raw in ('[1]', '[["a",1]]', '["ab"]', '{"a":{"b":[[],{},[{}]]},"c":null,"d":true,"e":1.50}', '{"":""}', '{"b":1,"a":2}',
                '{"a":1,"a":2}', '{"a":NaN}', '{"a":Infinity}', '{"a":-Infinity}', '{"a":1e400}', '{"a":"\\ud800"}', '{"a":"\\udc00\\ud800"}',
                '{"a":"\\ud83d\\ude00"}', '{"a":01}', '{"a":1.}', '{"a":.5}', '{"a":+1}', "{'a':1}", '{"a":1,}', '{"a":"\n"}', '{"a":"\\u00zz"}',
                '{"a":"\\v"}', '{"a":tru}', '{"a" 1}', '{a:1}', '{"a":1}{', '{"a":"\\/"}', '{"a":1E+2}', '{"a":-}', '{"a":0e0}', '{"a":1e-400}',
                '[' * 63 + ']' * 63):
        yield "@context", raw
    yield "file_list[0]", ""
    yield "file_list[0]", '"a","a","./a"'
    yield "file_list[0]", '"a",null'
    yield "file_list[0]", '"a",'


def fill(template, field, raw):
    for name, default in DEFAULTS.items():
        template = template.replace(f"@{name}@", raw if name == field else default)
    return template


def train_lib_writes(text):
    """What train_lib writes after reading text; None if it refuses."""
    try:
        return TrainConfig.parse_raw(text.encode("utf-8")).json(indent=2, by_alias=True)
    except Exception:
        return None


# What train_lib takes and we refuse on purpose: two readers could see two different trains in it.
STRICTER = {
    '{"a":1,"a":2}', '{"a":NaN}', '{"a":Infinity}', '{"a":-Infinity}', '{"a":1e400}', '{"a":"\\ud800"}', '{"a":"\\udc00\\ud800"}',
    '[["digest","a"],["signature","b"]]', '[["signature","a"],["rsa_public_key","b"]]', '[["a",1]]', '["ab"]',
}
STRICTER_INDEX = {"9223372036854775808", '"18446744073709551616"', "1e20", "1.5e300"}
# an id has at most 256 characters, which also bounds what train_lib makes of a number
LONGEST_ID = 256


def config_quirks():
    cases = []
    default = train_lib_writes(fill(TEMPLATE, None, None))
    for field, raw in dict.fromkeys(quirks()):
        written = train_lib_writes(fill(TEMPLATE, field, raw))
        is_long = len(raw.strip('"')) > LONGEST_ID
        stricter = written is not None and (raw in STRICTER or is_long or (field == "route[0].index" and raw in STRICTER_INDEX))
        case = {"field": field, "raw": raw, "writes": None, "stricter": stricter}
        if written is not None:
            # keep only what differs from the default output: this many bytes at both ends are the same
            head = len(os.path.commonprefix([default, written]))
            tail = len(os.path.commonprefix([default[head:][::-1], written[head:][::-1]]))
            case["writes"] = [head, written[head: len(written) - tail], tail]
        cases.append(case)
    return {"template": TEMPLATE, "defaults": DEFAULTS, "default_output": default, "cases": cases}


def config_layouts():
    stop = '{"station":"%s","eco_system":"tue","rsa_public_key":"aa","index":%d}'
    head = '"creator":{"id":"u","rsa_public_key":"aa"},"proposal_id":1,"session_id":"00"'
    tail = '"hash":"","signature":"","build":{"signature":"","rsa_public_key":""}'
    source = '"source":{"type":"git_repository","address":"a","branch":"main"}'
    texts = {
        "compact, unsorted route": '{%s,%s,"@id":"t","route":[%s,%s,%s],"file_list":["b","a"],%s}'
                                   % (source, head, stop % ("s2", 1), stop % ("s1", 0), stop % ("s3", 2), tail),
        "empty lists": '{%s,%s,"@id":"t","route":[],"file_list":[],%s}' % (source, head, tail),
        "keys in another order, odd white space": '\r\n\t{%s ,\n "file_list" :\t[ "x" , "y"\n] , "route":[ ] ,"@id" : "t",%s,%s}\r\n '
                                                  % (tail, head, source),
        "unknown keys at every level, a plain id": '{%s,%s,"id":"not me","@id":"t","more":{"deep":[1,{"x":null}]},"route":[%s],'
                                                   '"file_list":[],%s}' % (source[:-1] + ',"x":1}', head,
                                                                           (stop % ("s", 0))[:-1] + ',"y":[1]}', tail),
        "a plain id only": '{%s,%s,"id":"t","route":[],"file_list":[],%s}' % (source, head, tail),
        "byte order mark": '\ufeff{%s,%s,"@id":"t","route":[],"file_list":[],%s}' % (source, head, tail),
        "trailing text": '{%s,%s,"@id":"t","route":[],"file_list":[],%s} x' % (source, head, tail),
        "truncated": '{%s,%s,"@id":"t","route":[],"file_list":[],%s' % (source, head, tail),
        "route is an object": '{%s,%s,"@id":"t","route":{},"file_list":[],%s}' % (source, head, tail),
        "a stop is null": '{%s,%s,"@id":"t","route":[null],"file_list":[],%s}' % (source, head, tail),
        "the whole is a list": "[]",
        "nothing": "",
    }
    return [{"name": name, "input": text, "output": train_lib_writes(text)} for name, text in texts.items()]


# --- digests ----------------------------------------------------------------------------------------------------------

def immutable_cases():
    files = [["a.py", "61"], ["empty", ""], ["lib/b.py", "6262"], ["sub/query.json", "7b7d"]]
    names = [name for name, _ in files]
    yield "in order", "u", files, names, None
    yield "another order is another digest", "u", files, names[::-1], None
    yield "one ./ is removed", "u", files, ["./" + name for name in names], None
    yield "two are not", "u", files, ["././a.py"], None
    yield "a repeated name counts once", "u", files, ["a.py", "lib/b.py", "a.py", "./lib/b.py", "a.py"], None
    yield "unlisted files are not hashed", "u", files, ["a.py"], None
    yield "an empty list", "u", files, [], None
    yield "the query comes last", "u", files, names, "7b2271223a317d"
    yield "an empty query", "u", files, names, ""
    yield "a listed name that is not there", "u", files, names + ["gone"], None
    yield "the query listed", "u", files, names + ["query.json"], "7b7d"
    yield "the query listed with ./", "u", files, ["./query.json"] + names, "7b7d"
    yield "a numeric creator", 123, files, names, None
    yield "a creator beyond ASCII", "j\u00fcrgen", files, names, None
    yield "not normalised", "u", files, ["lib//b.py"], None
    yield "climbing", "u", files, ["lib/../a.py"], None


def digests():
    session = bytes(range(64))
    immutable = []
    for name, creator, files, file_list, query in immutable_cases():
        try:
            digest = hash_immutable_files(
                immutable_files=[BytesIO(bytes.fromhex(content)) for _, content in files],
                user_id=str(creator), session_id=session, binary_files=True, ordered_file_list=file_list,
                immutable_file_names=[name for name, _ in files],
                query=None if query is None else bytes.fromhex(query)).hex()
        except ValueError:
            digest = None
        immutable.append({"name": name, "creator": creator, "files": files, "file_list": file_list, "query": query, "digest": digest})
    results = []
    for contents in ([], [""], ["61", "", "6263"], ["616263"], ["00" * 1000]):
        digest = hash_results([BytesIO(bytes.fromhex(c)) for c in contents], session_id=session, binary_files=True)
        results.append({"contents": contents, "digest": digest.hex()})
    return {"session_id": session.hex(), "immutable": immutable, "results": results}


# --- envelopes --------------------------------------------------------------------------------------------------------

def pattern(length):
    return bytes(i * 7 % 251 for i in range(length))


def envelopes():
    cases = []
    for key_length in (16, 24, 32):
        for length in (0, 1, 15, 16, 17, 31, 32, 1000, 1 << 20):
            encryptor = FileEncryptor(bytes(range(key_length)))
            encryptor.iv = bytes(range(100, 116))
            sealed = encryptor.encrypt(pattern(length))
            cases.append({"key": encryptor.key.hex(), "iv": encryptor.iv.hex(), "plain_len": length, "sealed_len": len(sealed),
                          "sealed": sealed.hex() if length <= 32 else None, "sealed_sha256": hashlib.sha256(sealed).hexdigest()})
    return cases


# --- keys and a whole train -------------------------------------------------------------------------------------------

def new_key(bits):
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def hex_pem(key, pkcs1=False):
    form = serialization.PublicFormat.PKCS1 if pkcs1 else serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).hex()


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def public_keys():
    cases = []
    for bits in (2048, 3072, 4096):
        key = new_key(bits)
        der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        n = key.public_key().public_numbers().n
        fields = {"e": "AQAB", "kty": "RSA", "n": b64url(n.to_bytes(bits // 8, "big"))}
        kid = b64url(hashlib.sha256(json.dumps(fields, separators=(",", ":")).encode()).digest())
        fingerprint = "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
        for pem in (hex_pem(key), hex_pem(key, pkcs1=True)):
            KeyManager.load_public_key(pem)
        cases.append({"bits": bits, "spki": hex_pem(key), "pkcs1": hex_pem(key, pkcs1=True), "der": der.hex(), "fingerprint": fingerprint,
                      "kid": kid, "n": fields["n"]})
    return cases


def whole_train():
    """A train with three stops, opened and closed by train_lib at each, its config after every step."""
    creator, builder = new_key(3072), new_key(2048)
    stations = {"s-2048": new_key(2048), "s-3072": new_key(3072), "s-4096": new_key(4096)}
    files = {"main.py": b"print('hello')\n", "lib/empty": b"", "lib/table.csv": b"a,b\n1,2\n"}
    query, session, creator_id = b'{"query":true}', os.urandom(64), "0042"
    file_list = ["./main.py", "lib/table.csv", "lib/empty"]
    # a numeric-looking creator only verifies if the builder hashed the canonical number
    digest = hash_immutable_files([BytesIO(c) for c in files.values()], "42", session, True, file_list, list(files), query)
    signature = creator.sign(digest, padding.PKCS1v15(), hashes.SHA512())
    build_signature = builder.sign(digest + signature, padding.PKCS1v15(), hashes.SHA512())
    key = os.urandom(32)
    wrap = KeyManager(None).encrypt_symmetric_key
    route = [{"station": name, "eco_system": "padme" if index else "tue", "rsa_public_key": hex_pem(k, pkcs1=index == 1),
              "index": index, "encrypted_key": wrap(key, hex_pem(k))} for index, (name, k) in enumerate(stations.items())]
    config = json.dumps({
        "source": {"type": "docker_repository", "address": "https://registry.example/train"},
        "creator": {"id": creator_id, "rsa_public_key": hex_pem(creator, pkcs1=True)}, "proposal_id": 7, "@id": "train-\u00fc",
        "@context": {"@vocab": "https://example.org/", "n": [1.0, 2e20]}, "session_id": session.hex(),
        "route": [route[2], route[0], route[1]], "file_list": file_list, "hash": digest.hex(), "signature": signature.hex(),
        "build": {"signature": build_signature.hex(), "rsa_public_key": hex_pem(builder)},
    }, separators=(",", ":"))
    steps, results = [], []
    for index, (name, private_key) in enumerate(stations.items()):
        protocol = SecurityProtocol(name, TrainConfig.parse_raw(config.encode()))
        protocol.validate_immutable_files(files=[BytesIO(c) for c in files.values()], ordered_file_list=file_list,
                                          immutable_file_names=list(files), query=query)
        if index:
            protocol.verify_digital_signature()
            protocol.validate_previous_results([BytesIO(c) for c in results])
        arriving, results = results, [b"stop %d" % index, b"", b"more" * index]
        with tempfile.NamedTemporaryFile() as pem:
            pem.write(private_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                                serialization.NoEncryption()))
            pem.flush()
            assert protocol.key_manager.decrypt_symmetric_key(protocol.route_stop.encrypted_key, pem.name) == key
            _, key = protocol._post_run_outside_container([BytesIO(c) for c in results], pem.name)
        after = TrainConfig(**protocol.config.dict(by_alias=True)).json(indent=2, by_alias=True)
        steps.append({"station": name, "config": config, "arriving_results": [c.hex() for c in arriving],
                      "results": [c.hex() for c in results], "next_config": after})
        config = after
    return {"files": {n: c.hex() for n, c in files.items()}, "query": query.hex(), "steps": steps}


CERTAIN = {"config-quirks": config_quirks, "config-layouts": config_layouts, "digests": digests, "envelopes": envelopes}
BY_CHANCE = {"public-keys": public_keys, "train": whole_train}


def text_of(made):
    return json.dumps(made, indent=1, ensure_ascii=True) + "\n"


def main():
    logger.remove()
    if sys.argv[1:] == ["--check"]:
        different = [name for name, make in CERTAIN.items() if (VECTORS / f"{name}.json").read_text() != text_of(make())]
        sys.exit(f"different: {', '.join(different)}" if different else 0)
    if sys.argv[1:]:
        sys.exit(__doc__)
    VECTORS.mkdir(parents=True, exist_ok=True)
    for name, make in {**CERTAIN, **BY_CHANCE}.items():
        (VECTORS / f"{name}.json").write_text(text_of(make()))
        print(name)


if __name__ == "__main__":
    main()
