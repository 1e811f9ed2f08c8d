"""SecurityProtocol with train_lib's signatures."""

from __future__ import annotations

import json
import warnings
from typing import Any, List, Mapping, Optional

from .. import Client, GetStatusResponse, StationmasterError
from ._absent import KeyManager
from ._errors import ValidationError, as_train_lib


def check(client: Optional[Client] = None) -> GetStatusResponse:
    """Returns the service's state, in place of a test that opens the private key. Raises when the service cannot be reached."""
    if client is not None:
        return client.status()
    with Client() as own:
        return own.status()


class SecurityProtocol:
    """The two steps of a station.

    `config` is train_lib's TrainConfig (pydantic 1 or 2), or the parsed train_config.json. `docker_client` is kept and not used: the
    service has the engine. The service is the one that STATIONMASTER_ADDRESS names, or the `client` that is passed.
    """

    def __init__(
        self,
        station_id: str,
        config: Any,
        results_dir: Optional[str] = None,
        train_dir: Optional[str] = None,
        docker_client: Any = None,
        *,
        client: Optional[Client] = None,
    ) -> None:
        self.station_id = station_id
        self.config = config
        self.route_stop = next((stop for stop in _route(config) if str(_of(stop, "station")) == str(station_id)), None)
        if not self.route_stop:
            raise ValidationError(f"Station {self.station_id} not found in route")
        self.key_manager = KeyManager(train_config=config)
        self.results_dir = results_dir
        self.train_dir = train_dir
        self.docker_client = docker_client
        self._client = client
        self._run_id: Optional[str] = None

    def pre_run_protocol(
        self,
        img: Optional[str] = None,
        private_key_path: Optional[str] = None,
        private_key_password: Optional[str] = None,
        immutable_dir: str = "/opt/pht_train",
        mutable_dir: str = "/opt/pht_results",
    ) -> None:
        """Verifies and opens the train in the image `img`, which then names the opened image."""
        _ignored(private_key_path, private_key_password)
        if (immutable_dir, mutable_dir) != ("/opt/pht_train", "/opt/pht_results"):
            raise ValueError("a train's directories are /opt/pht_train and /opt/pht_results; other ones are not supported")
        image = _image(img)
        self._run_id = self._call(lambda client: client.pre_run(image)).run_id

    def post_run_protocol(
        self,
        img: Optional[str] = None,
        private_key_path: Optional[str] = None,
        private_key_password: Optional[str] = None,
        rebase: bool = True,
    ) -> None:
        """Seals and signs the train in the image `img`, which then names the sealed image; reads `config` again.

        The sealed image always consists of the base image and one layer, as with `rebase=True`: an image that is not rebased
        contains the plaintext in its layers.
        """
        _ignored(private_key_path, private_key_password)
        if not rebase:
            warnings.warn("the sealed image is rebased in any case: otherwise its layers would contain plaintext", stacklevel=2)
        image = _image(img)
        self._call(lambda client: client.post_run(self._run_id, image=image))
        self._run_id = None
        state = self._call(lambda client: client.inspect_train(image))
        self.config = _like(self.config, json.loads(state.config_json))

    def _call(self, act: Any) -> Any:
        try:
            if self._client is not None:
                return act(self._client)
            with Client() as own:
                return act(own)
        except StationmasterError as error:
            raise as_train_lib(error) from error

    def _is_first_station_on_route(self) -> bool:
        return _of(self.config, "result_hash") is None

    def _get_previous_station(self) -> Any:
        index = _of(self.route_stop, "index")
        return next((stop for stop in _route(self.config) if _of(stop, "index") == index - 1), None)


def _image(img: Optional[str]) -> str:
    if not img:
        raise ValueError("img: the image of the train is needed")
    return img


def _ignored(path: Optional[str], password: Optional[str]) -> None:
    if path is not None or password is not None:
        warnings.warn(
            "private_key_path and private_key_password are ignored: the station's key is in the token of the service. Remove "
            "the file from this host when the key is in the token",
            DeprecationWarning,
            stacklevel=3,
        )


def _of(value: Any, name: str) -> Any:
    """A field of a model or of a dictionary."""
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _route(config: Any) -> List[Any]:
    return list(_of(config, "route") or [])


def _like(config: Any, state: Any) -> Any:
    """The new state of a config, as a value of the same type."""
    return state if isinstance(config, Mapping) else type(config)(**state)
