"""The creator's side: opens what came back and believes nothing. No code of train_lib."""

import base64
import json
import tarfile
import tempfile

import engine
import sealing


class Refused(Exception):
    """The train that came back is not what it should be."""


def require(holds, what):
    if not holds:
        raise Refused(what)


def below(name, directory):
    return name[len(directory) + 1 :] if name.startswith(directory + "/") else None


def open_results(image, creator_key, expected_path, earlier_result_hashes, digests_only):
    """Checks and decrypts a train after any number of stops, the first one at least."""
    sealed, entries = {}, {}
    for member, content in engine.walk(engine.connect(), image, "/opt"):
        name = below(member.name.rstrip("/"), "opt")
        if name is None:
            continue
        entries[name] = {
            "type": {tarfile.DIRTYPE: "directory", tarfile.REGTYPE: "file"}.get(member.type, repr(member.type)),
            "mode": oct(member.mode),
            "uid": member.uid,
            "gid": member.gid,
            "size": member.size,
        }
        if content is not None:
            sealed[name] = content

    config = json.loads(sealed["train_config.json"])
    session_id = bytes.fromhex(config["session_id"])
    creator = sealing.load_private(creator_key)
    wrapped = bytes.fromhex(config["creator"]["encrypted_key"])
    require(sealed["user_sym_key.key"] == wrapped, "user_sym_key.key is not creator.encrypted_key")
    key = sealing.unwrap(creator, wrapped)
    require(len(key) == 32, f"the envelope key has {len(key)} bytes")

    def opened(directory):
        plain = {}
        for name, content in sealed.items():
            short = below(name, directory)
            if short is not None:
                try:
                    plain[short] = sealing.open_sealed(key, content)
                except ValueError as error:
                    raise Refused(f"{name} does not decrypt: {error}") from error
        return plain

    code, results = opened("pht_train"), opened("pht_results")
    query = code.pop("query.json", None)

    verify_code(config, code, query, session_id)
    stops = verify_route(config, results, session_id, earlier_result_hashes)
    if expected_path:
        with open(expected_path) as file:
            verify_expected(json.load(file), config, code)

    def shown(files):
        if digests_only:
            return {name: sealing.sha512(data).hex() for name, data in files.items()}
        return {name: base64.b64encode(data).decode() for name, data in files.items()}

    return {
        "image": image,
        "stops_signed": stops,
        "result_hash": config["result_hash"],
        "files": shown(results),
        "code": shown(code),
        "query": None if query is None else base64.b64encode(query).decode(),
        "entries": entries,
        "layers": len(engine.connect().images.get(image).attrs["RootFS"]["Layers"]),
        "config": config,
        "envelope_key": key.hex(),
    }


def verify_code(config, code, query, session_id):
    digest = sealing.immutable_digest(config["creator"]["id"], code, config["file_list"], session_id, query)
    require(digest.hex() == config["hash"], "the immutable files are not those of `hash`")
    listed = {name[2:] if name.startswith("./") else name for name in config["file_list"]}
    require(set(code) == listed, f"files beside file_list: {sorted(set(code) ^ listed)}")
    signature = bytes.fromhex(config["signature"])
    sealing.verify_message(sealing.load_public(config["creator"]["rsa_public_key"]), signature, digest)
    build = config["build"]
    sealing.verify_message(
        sealing.load_public(build["rsa_public_key"]), bytes.fromhex(build["signature"]), digest + signature
    )


def verify_route(config, results, session_id, earlier_result_hashes):
    """Every signature, and every digest for which the result hash is known: the config holds the last one only."""
    ordered = [results[name] for name in sorted(results, key=lambda name: [part.encode() for part in name.split("/")])]
    result_hash = sealing.sha512(*ordered, session_id)
    require(result_hash.hex() == config["result_hash"], "the results are not those of `result_hash`")

    route = config["route"]
    require([stop["index"] for stop in route] == list(range(len(route))), "the route is not sorted by index")
    signed = [stop for stop in route if stop["signature"]]
    require(signed and signed == route[: len(signed)], "a stop was left out")

    hashes = [bytes.fromhex(text) for text in earlier_result_hashes]
    require(len(hashes) <= len(signed) - 1, "more earlier result hashes than stops")
    known = dict(enumerate(hashes))
    known[len(signed) - 1] = result_hash
    before = []
    for index, stop in enumerate(signed):
        digest = bytes.fromhex(stop["signature"]["digest"])
        if index in known:
            expected = sealing.sha512(*(before or [session_id]), known[index])
            require(digest == expected, f"the chain digest of stop {index} is not the recomputed one")
        before.append(digest)
        sealing.verify_digest(
            sealing.load_public(stop["rsa_public_key"]), bytes.fromhex(stop["signature"]["signature"]), digest
        )
    last = sealing.load_public(signed[-1]["rsa_public_key"])
    sealing.verify_digest(last, bytes.fromhex(config["result_signature"]), result_hash)
    for stop in route:
        require(stop["encrypted_key"] is not None, f"no wrapped key for stop {stop['index']}")
    return len(signed)


def verify_expected(train, config, code):
    """Against what make-train wrote down."""
    require(config["session_id"] == train["session_id"], "another train session")
    require(config["creator"]["rsa_public_key"] == train["creator_public_key"], "another creator")
    require(config["hash"] == train["hash"], "another immutable hash")
    require(config["file_list"] == train["file_list"], "another file_list")
    route = [[stop["station"], stop["rsa_public_key"]] for stop in config["route"]]
    require(route == train["stations"], "another route")
    digests = {name: sealing.sha512(data).hex() for name, data in code.items()}
    require(digests == train["code_sha512"], "other code")


def layers_scan(image, needles):
    """Looks for plaintext in everything that `docker save` would ship, every layer and the image's own JSON included."""
    wanted = [bytes.fromhex(needle) for needle in needles]
    overlap = max(map(len, wanted)) - 1
    hits, members, scanned = [], 0, 0
    with tempfile.TemporaryFile() as spool:
        for chunk in engine.connect().api.get_image(image):
            spool.write(chunk)
        spool.seek(0)
        with tarfile.open(fileobj=spool, mode="r:") as archive:
            for member in archive:
                if not member.isreg():
                    continue
                members += 1
                found, tail, file = set(), b"", archive.extractfile(member)
                while chunk := file.read(1 << 20):
                    scanned += len(chunk)
                    window = tail + chunk
                    found.update(i for i, needle in enumerate(wanted) if needle in window)
                    tail = window[-overlap:] if overlap else b""
                hits += [{"member": member.name, "needle": needles[i]} for i in sorted(found)]
    return {"image": image, "members": members, "bytes": scanned, "hits": hits}
