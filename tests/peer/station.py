"""A station with train_lib, and the run between its two steps."""

import engine


def quiet_train_lib():
    from loguru import logger

    logger.remove()


def pre_run(station, key, image, config_out):
    quiet_train_lib()
    from train_lib.docker_util.docker_ops import extract_train_config
    from train_lib.security.protocol import SecurityProtocol

    with engine.removing_created_containers():
        config = extract_train_config(image)
        if config_out:
            with open(config_out, "w") as file:
                file.write(config.json(by_alias=True))
        SecurityProtocol(station, config=config).pre_run_protocol(image, key)
    return {"image": image, "image_id": engine.connect().images.get(image).id}


def post_run(station, key, image, config_path, rebase):
    """With the config kept at pre-run, as the station's own software does; without `config_path` it is read from the image,
    as the protocol container does."""
    quiet_train_lib()
    from train_lib.docker_util.docker_ops import extract_train_config
    from train_lib.security.protocol import SecurityProtocol
    from train_lib.security.train_config import TrainConfig

    with engine.removing_created_containers():
        if config_path:
            with open(config_path) as file:
                config = TrainConfig.parse_raw(file.read())
        else:
            config = extract_train_config(image)
        SecurityProtocol(station, config=config).post_run_protocol(image, key, rebase=rebase)
    return {"image": image, "image_id": engine.connect().images.get(image).id}


# What a station's software takes from the finished container, and where it puts each.
CARRIED = (("/opt/pht_train", "/opt"), ("/opt/pht_results", "/opt"), ("/opt/train_config.json", "/opt"))


def run_train(image, mode, environment):
    """Runs the train without a network and leaves its outcome under the same reference: the container committed (`commit`),
    or three paths of it carried onto the train's base (`dag`)."""
    client = engine.connect()
    repository, tag = engine.split_reference(image)
    with engine.container(client, image, environment=environment, network_disabled=True) as ran:
        ran.start()
        status = ran.wait()["StatusCode"]
        output = ran.logs().decode(errors="replace")
        if status != 0:
            raise RuntimeError(f"the train ended with {status}: {output}")
        if mode == "commit":
            made = ran.commit(repository=repository, tag=tag)
        else:
            with engine.container(client, engine.base_of(image)) as rebased:
                for source, target in CARRIED:
                    with engine.fetch(ran, source) as archive:
                        rebased.put_archive(target, archive)
                made = rebased.commit(repository=repository, tag=tag)
    return {"image": image, "image_id": made.id, "output": output}
