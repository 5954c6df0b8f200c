"""Sealing: credentials and hook URLs are encrypted in the program before PostgreSQL sees them.

In: plain text and the key (JOBSYNC_SECRET_KEY, else a 0600 file in the data dir, made on first use). Out: sealed bytes
with the id of the key, so that keys can be rotated: a `Keyring` seals with its first key and opens with any. The same
key, through HMAC, makes the fingerprint by which one hook is one destination without being readable. Changing the key
is `engine.rotate`.
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
    """One or more 32-byte keys; the first seals. With `path` it follows the key file: a new key counts from its next call.

    A key that the file no longer holds still opens, in this process, what was read before it went.
    """

    def __init__(self, keys: list[bytes], path: Path | None = None) -> None:
        self._keys: dict[str, bytes] = {}
        self._path = path
        self._seen = _look_at(path)
        self._take(keys)

    @property
    def key_id(self) -> str:
        """Id of the key that seals: the first 12 hexadecimal digits of its hash."""
        self._follow()
        return self._first

    @property
    def path(self) -> Path | None:
        """The key file; None where the keys come from the environment."""
        return self._path

    def seal(self, text: str) -> Sealed:
        """Encrypts `text`; each call gives other bytes."""
        self._follow()
        nonce = os.urandom(12)
        return Sealed(nonce + AESGCM(self._keys[self._first]).encrypt(nonce, text.encode(), b"jobsync"), self._first)

    def open(self, content: bytes, key_id: str) -> str:
        """Decrypts. Raises ConfigError when the key is not here or the bytes were changed."""
        self._follow()
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
        """HMAC-SHA-256 of `text` under the first key: equal texts, equal bytes, until the key is changed."""
        return self.fingerprints(text)[0]

    def fingerprints(self, text: str) -> list[bytes]:
        """The same under every key of the ring, the first one's first: what was written before a change is found by these."""
        self._follow()
        message = b"jobsync-fingerprint:" + text.encode()
        order = sorted(self._keys, key=lambda name: name != self._first)
        return [hmac.new(self._keys[name], message, hashlib.sha256).digest() for name in order]

    def _take(self, keys: list[bytes]) -> None:
        if not keys or any(len(key) != 32 for key in keys):
            raise ConfigError(
                "JOBSYNC_SECRET_KEY must be 32 bytes, base64 encoded.",
                hint="Leave it empty to let JobSync make a key file.",
            )
        self._keys |= {_key_id(key): key for key in keys}
        self._first = _key_id(keys[0])

    def _follow(self) -> None:
        seen = _look_at(self._path)
        if self._path is None or seen is None or seen == self._seen:
            return
        self._take(_read_file(self._path))
        self._seen = seen


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
        return Keyring(_read_file(path), path)
    except FileExistsError:
        return load_keyring(secret_key, data_dir)
    except OSError as error:
        raise ConfigError(
            f"The key file {path} cannot be used: {error.strerror}.", hint="Check the rights of JOBSYNC_DATA_DIR."
        ) from None


def add_key(path: Path) -> None:
    """Puts a new key in front of those of the file. Whoever follows the file seals with it from then on."""
    _write_file(path, [os.urandom(32), *_read_file(path)])


def keep_first_key(path: Path) -> int:
    """Takes all keys but the first out of the file; how many went."""
    keys = _read_file(path)
    if len(keys) > 1:
        _write_file(path, keys[:1])
    return len(keys) - 1


def _read_file(path: Path) -> list[bytes]:
    try:
        return [base64.b64decode(line) for line in path.read_bytes().split()]
    except OSError as error:
        raise ConfigError(f"The key file {path} cannot be read: {error.strerror}.", hint="Check its rights.") from None


def _write_file(path: Path, keys: list[bytes]) -> None:
    """Whole or not at all: another process reads it at any moment."""
    part = path.with_name(path.name + ".new")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(b"".join(base64.b64encode(key) + b"\n" for key in keys))
        out.flush()
        os.fsync(out.fileno())
    part.rename(path)


def _look_at(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"jobsync-key-id:" + key).hexdigest()[:12]
