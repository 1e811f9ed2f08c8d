"""The other reader, and an honest writer, of the comparison in tests/it/images/tarfile.rs: Python's own tarfile.

make SEED COUNT   writes COUNT archives of /opt to stdout, each behind its length (8 bytes, big endian)
read              reads such archives from stdin and answers each with a line of JSON: {"entries": […]} or {"error": "…"}
"""

import hashlib
import io
import json
import random
import struct
import sys
import tarfile

AREAS = ("opt/pht_train", "opt/pht_results")
MOST_MEMBERS = 5_000


def read(archive):
    entries = []
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as opened:
        for count, member in enumerate(opened):
            # Some headers lead its reader back to where it was.
            if count > MOST_MEMBERS:
                raise ValueError("endless")
            name = member.name
            while name.startswith("./"):
                name = name[2:]
            if not any(name == area or name.startswith(area + "/") for area in AREAS):
                continue
            digest = None
            if member.isreg():
                if member.issparse():
                    digest = "sparse"
                else:
                    content = opened.extractfile(member).read()
                    digest = hashlib.sha256(content).hexdigest()
                kind = "file"
            else:
                kind = "directory" if member.isdir() else "other"
            entries.append([name.encode("utf-8", "surrogateescape").hex(), kind, member.size, digest, member.mode & 0o1777, member.uid, member.gid])
    return entries


def archives(stream):
    while length := stream.read(8):
        yield stream.read(struct.unpack(">Q", length)[0])


def answer_all():
    for archive in archives(sys.stdin.buffer):
        try:
            answer = {"entries": read(archive)}
        except Exception as error:  # whatever it is, it is a refusal
            answer = {"error": type(error).__name__}
        print(json.dumps(answer))


def component(chance, largest):
    letters = "abcXYZ019._- !äß漢😀"
    return "".join(chance.choice(letters) for _ in range(chance.randint(1, largest))).strip(". ") or "n"


def make(chance):
    form = chance.choice([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:", format=form) as archive:
        for area in ("opt/pht_results", "opt/pht_train"):
            paths = {}
            for _ in range(chance.randint(0, 6)):
                # POSIX's own format has no room for long names.
                largest = 12 if form == tarfile.USTAR_FORMAT else chance.choice([12, 12, 60])
                parts = [component(chance, largest) for _ in range(chance.randint(1, 3))]
                # Nothing lies below a file.
                if any(paths.get(tuple(parts[:depth])) == tarfile.REGTYPE for depth in range(1, len(parts))):
                    continue
                for depth in range(1, len(parts)):
                    paths.setdefault(tuple(parts[:depth]), tarfile.DIRTYPE)
                paths.setdefault(tuple(parts), tarfile.REGTYPE)
            add(archive, chance, area, tarfile.DIRTYPE, form)
            for parts in sorted(paths, key=lambda parts: [part.encode() for part in parts]):
                add(archive, chance, "/".join((area, *parts)), paths[parts], form)
        if chance.random() < 0.5:
            link = tarfile.TarInfo("opt/tool")
            link.type, link.linkname = tarfile.SYMTYPE, "/bin/" + component(chance, 150 if form != tarfile.USTAR_FORMAT else 9)
            archive.addfile(link)
    return out.getvalue()


def add(archive, chance, name, kind, form):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = chance.choice([0o644, 0o755, 0o600, 0o4755, 0o1777])
    large = 4_000_000_000 if form != tarfile.USTAR_FORMAT else 0o7777777
    info.uid, info.gid = chance.choice([0, 1000, large]), chance.choice([0, 65534, large])
    info.mtime = chance.choice([0, 1_700_000_000, 1_700_000_000.25])
    if form == tarfile.PAX_FORMAT and chance.random() < 0.3:
        info.pax_headers = {"SCHILY.xattr.user.x": chance.choice(["1", "a\nb\n", "\n27 path=opt/pht_train/evil\n", "a=b"])}
    content = chance.randbytes(chance.choice([0, 1, 511, 512, 513, 2000])) if kind == tarfile.REGTYPE else b""
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def make_all(seed, count):
    chance = random.Random(seed)
    for _ in range(count):
        archive = make(chance)
        sys.stdout.buffer.write(struct.pack(">Q", len(archive)) + archive)


if __name__ == "__main__":
    if sys.argv[1] == "read":
        answer_all()
    else:
        make_all(int(sys.argv[2]), int(sys.argv[3]))
