"""The test peer: everybody a train meets besides the station under test. One JSON line on stdout; exit status 1 with
`error` and `message` in it when the step was refused or failed.

    make-key --bits N --out FILE
    make-train --repo REPO --files DIR --stations JSON --work DIR [--query FILE]
    pre-run --station ID --key PEM --image REF [--config-out FILE]       (train_lib)
    run-train --image REF --mode commit|dag [--env K=V …]
    post-run --station ID --key PEM --image REF (--config FILE | --reread) [--no-rebase]       (train_lib)
    open-results --image REF --key PEM [--expect FILE] [--earlier-result-hashes HEX …] [--digests]
    layers-scan --image REF --needle HEX …
    remove --repo REPO
"""

import argparse
import json
import sys

import building
import engine
import opening
import station


def json_argument(text):
    """JSON, `@file` or `-` for stdin."""
    if text == "-":
        return json.load(sys.stdin)
    if text.startswith("@"):
        with open(text[1:]) as file:
            return json.load(file)
    return json.loads(text)


def arguments():
    parser = argparse.ArgumentParser(prog="peer.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("make-key")
    command.add_argument("--bits", type=int, default=2048)
    command.add_argument("--out", required=True)
    command.set_defaults(step=lambda given: building.make_key(given.bits, given.out))

    command = commands.add_parser("make-train")
    command.add_argument("--repo", required=True)
    command.add_argument("--tag", default="latest")
    command.add_argument("--files", required=True, help="directory with the algorithm; run.sh is its entry point")
    command.add_argument("--query")
    command.add_argument("--stations", type=json_argument, required=True, help='[{"id": …, "public_key_hex_pem": …}, …]')
    command.add_argument("--work", required=True, help="directory for creator.pem and train.json")
    command.add_argument("--creator-id", default="5d9e4f0c-6d0a-4b57-9d52-5f6f3a0c7f10")
    command.add_argument("--session-bytes", type=int, default=64)
    command.add_argument("--creator-form", choices=("pkcs1", "spki"), default="pkcs1")
    command.set_defaults(
        step=lambda given: building.make_train(
            given.repo,
            given.files,
            given.query,
            given.stations,
            given.work,
            given.creator_id,
            given.creator_form,
            given.tag,
            given.session_bytes,
        )
    )

    command = commands.add_parser("pre-run")
    station_arguments(command)
    command.add_argument("--config-out")
    command.set_defaults(step=lambda given: station.pre_run(given.station, given.key, given.image, given.config_out))

    command = commands.add_parser("post-run")
    station_arguments(command)
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", help="what pre-run's --config-out wrote")
    source.add_argument("--reread", action="store_true", help="take the config that is in the image now")
    command.add_argument("--no-rebase", action="store_true")
    command.set_defaults(
        step=lambda given: station.post_run(given.station, given.key, given.image, given.config, not given.no_rebase)
    )

    command = commands.add_parser("run-train")
    command.add_argument("--image", required=True)
    command.add_argument("--mode", choices=("commit", "dag"), required=True)
    command.add_argument("--env", action="append", default=[], metavar="K=V")
    command.set_defaults(step=lambda given: station.run_train(given.image, given.mode, given.env))

    command = commands.add_parser("open-results")
    command.add_argument("--image", required=True)
    command.add_argument("--key", required=True, help="the creator's private key")
    command.add_argument("--expect", help="train.json of make-train")
    command.add_argument("--earlier-result-hashes", nargs="*", default=[], help="of the stops before, from index 0")
    command.add_argument("--digests", action="store_true", help="SHA-512 in place of contents")
    command.set_defaults(
        step=lambda given: opening.open_results(
            given.image, given.key, given.expect, given.earlier_result_hashes, given.digests
        )
    )

    command = commands.add_parser("layers-scan")
    command.add_argument("--image", required=True)
    command.add_argument("--needle", nargs="+", required=True, metavar="HEX")
    command.set_defaults(step=lambda given: opening.layers_scan(given.image, given.needle))

    command = commands.add_parser("remove")
    command.add_argument("--repo", required=True)
    command.set_defaults(step=lambda given: {"removed": engine.remove_images(engine.connect(), given.repo)})

    return parser.parse_args()


def station_arguments(command):
    command.add_argument("--station", required=True)
    command.add_argument("--key", required=True)
    command.add_argument("--image", required=True)


def main():
    given = arguments()
    try:
        answer = given.step(given)
    except Exception as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}))
        print(f"peer.py {given.command}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
