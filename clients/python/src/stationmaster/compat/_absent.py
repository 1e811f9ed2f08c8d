"""Parts of train_lib that need a private key or a symmetric key in this process: each names what takes its place."""

from __future__ import annotations

from typing import Any, Callable, NoReturn


class NotInThisProcessError(NotImplementedError):
    """A call that would need a key in this process."""


def _instead(call: str, instead: str) -> Callable[..., NoReturn]:
    def refuse(*arguments: Any, **named: Any) -> NoReturn:
        raise NotInThisProcessError(f"{call} needs a key in this process, and keys are in the service's token: {instead}")

    return refuse


class KeyManager:
    """Keeps the config. The keys themselves are in the token."""

    def __init__(self, train_config: Any) -> None:
        self.train_config = train_config
        self.config = train_config

    load_private_key = staticmethod(_instead("KeyManager.load_private_key", "stationmaster key show LABEL shows the key"))
    decrypt_symmetric_key = _instead(
        "KeyManager.decrypt_symmetric_key", "Client.pre_run opens the train; Client.unwrap_key unwraps with a general key"
    )
    generate_encrypted_keys = _instead("KeyManager.generate_encrypted_keys", "Client.post_run seals the train")
    generate_symmetric_key = staticmethod(_instead("KeyManager.generate_symmetric_key", "Client.post_run seals the train"))
    encrypt_symmetric_key = _instead("KeyManager.encrypt_symmetric_key", "Client.post_run seals the train")
    save_config = _instead("KeyManager.save_config", "Client.post_run writes the config into the image")

    @staticmethod
    def load_public_key(key: str) -> Any:
        """Returns a public key from its hex PEM, as cryptography has it."""
        from cryptography.hazmat.primitives.serialization import load_pem_public_key

        return load_pem_public_key(bytes.fromhex(key))


class FileEncryptor:
    """Files of trains are opened and sealed by the service."""

    def __init__(self, key: bytes) -> None:
        _instead("FileEncryptor", "Client.pre_run opens a train's files, Client.post_run seals them")()


hash_immutable_files = _instead("hash_immutable_files", "Client.hash_image(IMAGE).train.immutable_digest")
hash_results = _instead("hash_results", "Client.hash_image(IMAGE).train.results_digest")
