"""Looks for secrets in a process as its core image would hold it: every mapping that can be read, whole, while the process is
stopped. Left out is what a core image leaves out: mappings with VM_DONTDUMP, and pages that not even the kernel can read
(memfd_secret); both are named in the answer. Needs root, since the service is not dumpable.

stdin: {"pid": N, "secrets": {name: hex}}; stdout: one JSON line.
"""

import base64
import json
import os
import re
import signal
import sys
import time

CHUNK = 1 << 20


def base64_forms(secret, encode):
    """As it looks wherever it begins within the encoded bytes; what its neighbours decide is left out."""
    for before in range(3):
        text = encode(bytes(before) + secret)
        yield text[(before * 8 + 5) // 6 : (before + len(secret)) * 8 // 6]


def forms(secret):
    yield "raw", secret
    # A number's limbs lie the other way round.
    yield "reversed", secret[::-1]
    if len(secret) >= 32:
        yield "first half", secret[: len(secret) // 2]
        yield "second half", secret[len(secret) // 2 :]
    yield "hex", secret.hex().encode()
    yield "HEX", secret.hex().upper().encode()
    for text in base64_forms(secret, base64.b64encode):
        yield "base64", text
    for text in base64_forms(secret, base64.urlsafe_b64encode):
        yield "base64url", text


def mappings(pid):
    found = []
    with open(f"/proc/{pid}/smaps") as file:
        for line in file:
            if header := re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)", line):
                start, end, rights, name = header.groups()
                found.append({"start": int(start, 16), "end": int(end, 16), "rights": rights, "name": name.strip(), "flags": []})
            elif line.startswith("VmFlags:"):
                found[-1]["flags"] = line.split()[1:]
    return found


def stop(pid):
    os.kill(pid, signal.SIGSTOP)
    while True:
        states = []
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/stat") as file:
                states.append(file.read().rsplit(")", 1)[1].split()[0])
        if all(state in "Tt" for state in states):
            return
        time.sleep(0.001)


def scan(pid, secrets):
    needles = [(name, form, text) for name, secret in secrets.items() for form, text in dict.fromkeys(forms(secret))]
    overlap = max(len(text) for _, _, text in needles) - 1
    scanned, left_out, hits = 0, [], []
    zeros = bytes(CHUNK + overlap)
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for mapping in mappings(pid):
            if "r" not in mapping["rights"]:
                continue
            name = mapping["name"] or "anonymous"
            size = mapping["end"] - mapping["start"]
            if "dd" in mapping["flags"]:
                left_out.append({"name": name, "bytes": size, "why": "not dumped"})
                continue
            at, tail = mapping["start"], b""
            while at < mapping["end"]:
                try:
                    memory.seek(at)
                    chunk = memory.read(min(CHUNK, mapping["end"] - at))
                except (OSError, OverflowError):
                    chunk = b""
                if not chunk:
                    left_out.append({"name": name, "bytes": mapping["end"] - at, "why": "unreadable"})
                    break
                window = tail + chunk
                if window != zeros[: len(window)]:
                    for secret, form, text in needles:
                        place = window.find(text)
                        while place >= 0:
                            # What lies in the tail alone was found before.
                            if place + len(text) > len(tail):
                                address = at - len(tail) + place
                                hits.append({"secret": secret, "form": form, "mapping": name, "address": hex(address)})
                            place = window.find(text, place + 1)
                tail = window[-overlap:]
                at += len(chunk)
                scanned += len(chunk)
    return {"bytes": scanned, "left_out": left_out, "hits": hits}


def main():
    asked = json.load(sys.stdin)
    pid, secrets = asked["pid"], {name: bytes.fromhex(text) for name, text in asked["secrets"].items()}
    try:
        stop(pid)
        try:
            answer = scan(pid, secrets)
        finally:
            os.kill(pid, signal.SIGCONT)
    except Exception as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}))
        raise
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
