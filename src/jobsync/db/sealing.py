"""Sealing: credentials and hook URLs are encrypted in the program before PostgreSQL sees them.

In: plain text and the key (JOBSYNC_SECRET_KEY, else a 0600 file in the data dir, made on first use). Out: sealed bytes
with the id of the key, so that keys can be rotated: a `Keyring` seals with its first key and opens with any. The same
key, through HMAC, makes the fingerprint by which one hook is one destination without being readable.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from jobsync.errors import ConfigError

KEY_FILE = "secret.key"


@dataclass(frozen=True)
class Sealed:
    """Sealed bytes and the id of the key that opens them."""

    content: bytes
    key_id: str


class Keyring:
    """One or more 32-byte keys; the first seals."""

    def __init__(self, keys: list[bytes]) -> None:
        if not keys or any(len(key) != 32 for key in keys):
            raise ConfigError(
                "JOBSYNC_SECRET_KEY must be 32 bytes, base64 encoded.",
                hint="Leave it empty to let JobSync make a key file.",
            )
        self._keys = {_key_id(key): key for key in keys}
        self._first = next(iter(self._keys))

    @property
    def key_id(self) -> str:
        """Id of the key that seals: the first 12 hexadecimal digits of its hash."""
        return self._first

    def seal(self, text: str) -> Sealed:
        """Encrypts `text`; each call gives other bytes."""
        nonce = os.urandom(12)
        return Sealed(nonce + AESGCM(self._keys[self._first]).encrypt(nonce, text.encode(), b"jobsync"), self._first)

    def open(self, content: bytes, key_id: str) -> str:
        """Decrypts. Raises ConfigError when the key is not here or the bytes were changed."""
        key = self._keys.get(key_id)
        if key is None:
            raise ConfigError(
                "A stored credential was sealed with another key than the one at hand.",
                hint="Give the old key in JOBSYNC_SECRET_KEY (after a comma), or enter the credential again.",
            )
        try:
            return AESGCM(key).decrypt(bytes(content[:12]), bytes(content[12:]), b"jobsync").decode()
        except Exception:
            raise ConfigError(
                "A stored credential cannot be opened: it was changed in the database.",
                hint="Enter the credential again.",
            ) from None

    def fingerprint(self, text: str) -> bytes:
        """HMAC-SHA-256 of `text` under the last key of the ring: equal texts, equal bytes; stays when a new key is put in front."""
        oldest = list(self._keys.values())[-1]
        return hmac.new(oldest, b"jobsync-fingerprint:" + text.encode(), hashlib.sha256).digest()


def load_keyring(secret_key: str | None, data_dir: Path) -> Keyring:
    """The keys of JOBSYNC_SECRET_KEY (base64, comma separated, newest first), else of the key file, made when missing.

    Raises ConfigError when the file is readable by others or cannot be written.
    """
    if secret_key:
        try:
            return Keyring([base64.b64decode(part.strip(), validate=True) for part in secret_key.split(",")])
        except ValueError:
            raise ConfigError("JOBSYNC_SECRET_KEY is not base64.", hint="32 random bytes, base64 encoded.") from None
    path = data_dir / KEY_FILE
    try:
        if not path.exists():
            data_dir.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as out:
                out.write(base64.b64encode(os.urandom(32)) + b"\n")
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path} is readable by other users.", hint=f"chmod 600 {path}")
        return Keyring([base64.b64decode(line) for line in path.read_bytes().split()])
    except FileExistsError:
        return load_keyring(secret_key, data_dir)
    except OSError as error:
        raise ConfigError(
            f"The key file {path} cannot be used: {error.strerror}.", hint="Check the rights of JOBSYNC_DATA_DIR."
        ) from None


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"jobsync-key-id:" + key).hexdigest()[:12]
