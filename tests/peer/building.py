"""Central and builder: a train as it is born."""

import io
import json
import os
import subprocess
import tarfile
import tempfile
import time
import uuid

import engine
import sealing

BUSYBOX = "/bin/busybox"
IMMUTABLE, RESULTS, QUERY = "opt/pht_train", "opt/pht_results", "query.json"
COMMAND = ["/bin/sh", "/opt/pht_train/run.sh"]


def make_key(bits, out):
    key = sealing.new_key(bits)
    write_private(out, sealing.private_pem(key))
    return {"key": os.path.abspath(out), "bits": bits, "public_key_hex_pem": sealing.public_pem(key).hex()}


def write_private(path, data):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)


def read_files(directory):
    """Content by path below `directory`."""
    files = {}
    for parent, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(parent, name)
            with open(path, "rb") as file:
                files[os.path.relpath(path, directory)] = file.read()
    return files


def make_train(repository, files_dir, query_path, stations, work, creator_id, creator_form, tag, session_bytes):
    files = read_files(files_dir)
    files.pop(QUERY, None)
    query = None
    if query_path:
        with open(query_path, "rb") as file:
            query = file.read()

    # Central names files `directory/name`, so top-level ones begin with `./`. Its order is a database's: here backwards, so
    # that it is neither the tar's nor sorted.
    file_list = [name if "/" in name else "./" + name for name in sorted(files, reverse=True)]
    session_id = sealing.random_bytes(session_bytes)
    creator, builder = sealing.new_key(2048), sealing.new_key(2048)
    digest = sealing.immutable_digest(creator_id, files, file_list, session_id, query)
    signature = sealing.sign_message(creator, digest)

    # The builder has one key and one IV for everything, and wraps the key for the first stop only.
    envelope_key, iv = sealing.random_bytes(32), sealing.random_bytes(16)
    route = [
        {
            "station": station["id"],
            "eco_system": station.get("eco_system", "tue"),
            "rsa_public_key": station["public_key_hex_pem"],
            "index": index,
            "signature": None,
            "encrypted_key": None,
        }
        for index, station in enumerate(stations)
    ]
    route[0]["encrypted_key"] = sealing.wrap(sealing.load_public(route[0]["rsa_public_key"]), envelope_key).hex()
    train_id = str(uuid.uuid4())
    config = {
        "id": train_id,  # an extra that readers drop
        "@id": train_id,
        "@context": None,
        "source": {"type": "docker_repository", "address": repository, "tag": "latest", "branch": None},
        "creator": {
            "id": creator_id,
            "rsa_public_key": sealing.public_pem(creator, creator_form).hex(),
            "paillier_public_key": None,
            "encrypted_key": None,
        },
        "proposal_id": 1,
        "session_id": session_id.hex(),
        "route": route[::-1],  # central does not sort
        "file_list": file_list,
        "hash": digest.hex(),
        "signature": signature.hex(),
        "build": {
            "signature": sealing.sign_message(builder, digest + signature).hex(),
            "rsa_public_key": sealing.public_pem(builder).hex(),
        },
        "result_hash": None,
        "result_signature": None,
    }

    sealed = {f"{IMMUTABLE}/{name}": sealing.seal(envelope_key, iv, plain) for name, plain in files.items()}
    if query is not None:
        sealed[f"{IMMUTABLE}/{QUERY}"] = sealing.seal(envelope_key, iv, query)
    sealed["opt/train_config.json"] = json.dumps(config, separators=(",", ":")).encode()
    image_id = import_image(repository, tag, sealed)

    os.makedirs(work, exist_ok=True)
    creator_path, train_path = os.path.join(work, "creator.pem"), os.path.join(work, "train.json")
    write_private(creator_path, sealing.private_pem(creator))
    train = {
        "image": f"{repository}:{tag}",
        "base": f"{repository}:base",
        "image_id": image_id,
        "repository": repository,
        "train_id": train_id,
        "session_id": session_id.hex(),
        "creator_id": creator_id,
        "creator_key": os.path.abspath(creator_path),
        "creator_public_key": config["creator"]["rsa_public_key"],
        "hash": config["hash"],
        "file_list": file_list,
        "stations": [[station["id"], station["public_key_hex_pem"]] for station in stations],
    }
    with open(train_path, "w") as file:
        json.dump({**train, "code_sha512": {name: sealing.sha512(data).hex() for name, data in files.items()}}, file)
    return {**train, "train": os.path.abspath(train_path), "envelope_key": envelope_key.hex()}


def import_image(repository, tag, sealed):
    """An image from nothing: busybox, and the train's files in two empty directories. Both tags name it."""
    applets = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split()
    with tempfile.TemporaryFile() as spool:
        with tarfile.open(fileobj=spool, mode="w") as archive:
            add_directory(archive, "bin")
            with open(BUSYBOX, "rb") as file:
                add_file(archive, "bin/busybox", file.read(), 0o755)
            for applet in applets:
                if applet != "busybox":
                    link = tarfile.TarInfo(f"bin/{applet}")
                    link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                    archive.addfile(link)
            for name in ("opt", IMMUTABLE, RESULTS):
                add_directory(archive, name)
            for name in sorted({os.path.dirname(name) for name in sealed} - {"opt", IMMUTABLE}):
                add_directory(archive, name)
            for name, data in sealed.items():
                add_file(archive, name, data, 0o644)
        spool.seek(0)
        client = engine.connect()
        changes = [f"CMD {json.dumps(COMMAND)}", f"LABEL {engine.LABEL}={repository}"]
        client.api.import_image_from_data(spool, repository=repository, tag="base", changes=changes)
    image = client.images.get(f"{repository}:base")
    image.tag(repository, tag)
    return image.id


def add_directory(archive, name):
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, int(time.time())
    archive.addfile(entry)


def add_file(archive, name, data, mode):
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(data), mode, int(time.time())
    archive.addfile(entry, io.BytesIO(data))
