"""train_lib's functions for images."""

from __future__ import annotations

import io
import json
import tarfile
import warnings
from typing import Any, Iterable, Optional

from .. import Client, StationmasterError
from ._errors import as_train_lib


def extract_train_config(img: str, config_path: str = "/opt/train_config.json", *, client: Optional[Client] = None) -> Any:
    """Returns the config of the train in an image: train_lib's TrainConfig if that library is installed, else a dictionary."""
    if config_path != "/opt/train_config.json":
        raise ValueError("the config of a train is /opt/train_config.json")
    try:
        if client is not None:
            found = client.inspect_train(img)
        else:
            with Client() as own:
                found = own.inspect_train(img)
    except StationmasterError as error:
        raise as_train_lib(error) from error
    state = json.loads(found.config_json)
    try:
        from train_lib.security.train_config import TrainConfig
    except ImportError:
        return state
    return TrainConfig(**state)


def extract_query_json(img: str, query_file_path: str = "/opt/pht_train/query.json", *, docker_client: Any = None) -> Optional[bytes]:
    """Returns the query in an opened image, or nothing if it has none.

    Reads it with the engine's client, as train_lib does, from a container that is never started. `Client.pre_run` returns the query,
    too, without a second look at the image.
    """
    try:
        import docker
    except ImportError:
        raise RuntimeError("the package docker is not installed: take the query from Client.pre_run(...).query") from None
    engine = docker_client or docker.from_env(timeout=1200)
    container = engine.containers.create(img)
    try:
        stream, _ = container.get_archive(query_file_path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            file = archive.extractfile("query.json")
            return file.read() if file is not None else None
    except docker.errors.NotFound:
        return None
    finally:
        container.remove()


def validate_train_image(
    master_image_name: str,
    train_image_name: str,
    path_exceptions: Optional[Iterable[bytes]] = None,
    docker_client: Any = None,
    num_cpus: int = 4,
    *,
    client: Optional[Client] = None,
) -> None:
    """Raises ValueError unless the image is an allowed master image plus a train and nothing else.

    The master must be one that the station's trust file allows. Paths cannot be excepted: the service's list is complete.
    """
    if path_exceptions is not None:
        warnings.warn("path_exceptions are ignored: the service excepts what a train may contain, and nothing else", stacklevel=2)
    master = master_image_name if "@" in master_image_name else _repository(master_image_name)
    try:
        if client is not None:
            result = client.validate_image(train_image_name, master)
        else:
            with Client() as own:
                result = own.validate_image(train_image_name, master)
    except StationmasterError as error:
        raise as_train_lib(error) from error
    if not result.holds:
        found = "; ".join(f"{one.what} {one.place} ({one.rule})" for one in result.differences[:5])
        broken = ", ".join(sorted({rule.rule for rule in result.rules if rule.outcome.name == "BROKEN"}))
        raise ValueError(f"File system of train image could not be validated: {found or broken}")


def _repository(name: str) -> str:
    """The name without its tag."""
    head, _, last = name.rpartition("/")
    return f"{head}/{last.split(':')[0]}" if head else last.split(":")[0]
