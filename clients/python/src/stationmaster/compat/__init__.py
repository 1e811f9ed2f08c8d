"""train_lib's interface, carried out by stationmaster: a station changes its imports and nothing else.

    -from train_lib.security.protocol import SecurityProtocol
    +from stationmaster.compat import SecurityProtocol
"""

from ._absent import FileEncryptor, KeyManager, hash_immutable_files, hash_results
from ._errors import TrainRefused, ValidationError
from ._images import extract_query_json, extract_train_config, validate_train_image
from ._protocol import SecurityProtocol, check

__all__ = [
    "FileEncryptor",
    "KeyManager",
    "SecurityProtocol",
    "TrainRefused",
    "ValidationError",
    "check",
    "extract_query_json",
    "extract_train_config",
    "hash_immutable_files",
    "hash_results",
    "validate_train_image",
]
