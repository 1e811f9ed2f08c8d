"""The command line of train_lib's protocol container: `pre-run|post-run IMAGE [--rebase]`.

STATION_ID must be a stop of the train. PRIVATE_KEY_PATH and PRIVATE_KEY_PASSWORD are ignored: the key is in the service's token.
STATIONMASTER_ADDRESS names the service.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from typing import List, Optional

from . import StationmasterError
from .compat import SecurityProtocol, extract_train_config
from .compat._errors import ValidationError


def main(arguments: Optional[List[str]] = None) -> int:
    """Carries out a step. Returns 0, 1 after a refusal, or 2 for a mistake in the call."""
    parser = argparse.ArgumentParser(prog="stationmaster-protocol", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("step", choices=["pre-run", "post-run"])
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("--rebase", action="store_true", help="accepted: the sealed image is rebased in any case")
    given = parser.parse_args(arguments)
    station = os.environ.get("STATION_ID")
    if not station:
        parser.error("STATION_ID is not set: the station's id in the train's route")
    if os.environ.get("PRIVATE_KEY_PATH"):
        print("note: PRIVATE_KEY_PATH is ignored: the key is in the service's token", file=sys.stderr)
    try:
        protocol = SecurityProtocol(station, extract_train_config(given.image))
        if given.step == "pre-run":
            protocol.pre_run_protocol(given.image)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                protocol.post_run_protocol(given.image, rebase=given.rebase)
    except (StationmasterError, ValidationError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
