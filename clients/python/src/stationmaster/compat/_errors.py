"""train_lib's exception, or one of its shape where the library is not installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import StationmasterError

if TYPE_CHECKING:

    class ValidationError(Exception):
        """As train_lib's."""

        def __init__(self, hash_value: object) -> None: ...

else:
    try:
        from train_lib.security.errors import ValidationError
    except ImportError:

        class ValidationError(Exception):
            """A train that is not what it should be."""

            def __init__(self, hash_value):
                super().__init__(hash_value)
                self.hash_value = hash_value


#: Reasons that train_lib reports as a ValidationError: the train is at fault, not the station.
_OF_TRAIN = frozenset(
    {
        "ARCHIVE_MALFORMED",
        "CONFIG_MALFORMED",
        "IMAGE_POLICY_VIOLATION",
        "KEY_UNTRUSTED",
        "ROUTE_REJECTED",
        "TRAIN_AUTHENTICATION_FAILED",
        "TRAIN_REPLAYED",
    }
)


class TrainRefused(ValidationError):
    """A train that the service refused. `error` is the refusal."""

    def __init__(self, error: StationmasterError) -> None:
        super().__init__(str(error))
        self.error = error

    def __str__(self) -> str:
        return str(self.error)


def as_train_lib(error: StationmasterError) -> Exception:
    """Returns the exception that train_lib would raise."""
    return TrainRefused(error) if error.reason in _OF_TRAIN else error
