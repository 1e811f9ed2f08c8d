"""One step of a train_lib station and nothing else, for `make bench`: what `peer.py` does around a step is not to be timed.

    timed.py pre-run|post-run STATION KEY IMAGE CONFIG

The containers that train_lib leaves behind stay; the caller removes them.
"""

import sys


def main():
    step, station, key, image, config_path = sys.argv[1:]
    from loguru import logger

    # The log that train_lib writes by default costs time of its own.
    logger.remove()
    from train_lib.docker_util.docker_ops import extract_train_config
    from train_lib.security.protocol import SecurityProtocol
    from train_lib.security.train_config import TrainConfig

    if step == "pre-run":
        config = extract_train_config(image)
        with open(config_path, "w") as file:
            file.write(config.json(by_alias=True))
        SecurityProtocol(station, config=config).pre_run_protocol(image, key)
    else:
        with open(config_path) as file:
            config = TrainConfig.parse_raw(file.read())
        SecurityProtocol(station, config=config).post_run_protocol(image, key)


main()
