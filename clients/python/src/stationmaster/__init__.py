"""Client of stationmaster: opens and seals Personal Health Train images with keys in an HSM.

    from stationmaster import Client

    with Client() as client:
        with client.open_train("registry.example/train:latest") as run:
            ...  # run the image run.prepared.image, commit the container under its name
        print(run.outcome.image_id)
"""

from ._error import ConnectionFailedError, NoAnswerError, StationmasterError, VersionMismatchError
from ._generated import *  # noqa: F403
from ._generated import __all__ as _generated_names
from ._runs import AsyncTrainRun, TrainRun
from .aio import AsyncClient
from .client import Client

__version__ = "0.1.0"

__all__ = [  # noqa: PLE0604
    "AsyncClient",
    "AsyncTrainRun",
    "Client",
    "ConnectionFailedError",
    "NoAnswerError",
    "StationmasterError",
    "TrainRun",
    "VersionMismatchError",
    *_generated_names,
]
