"""Passwords: argon2id, computed beside the event loop, two at a time at most.

Whoever names a user that does not exist waits as long as everybody else: there is always a hash to compare with.
"""

from __future__ import annotations

from functools import partial

from anyio import CapacityLimiter, to_thread
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from jobsync.errors import InvalidInput

SHORTEST = 12
LONGEST = 200
# Of a password that nobody knows, with the parameters of today: what an unknown user is compared with.
NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$5uBqFI7S2wkknq/Y3CaEgA$QI8D4srYLdWTAzRIfLAhVGQs0aXOubX0TH8TkzPTsqg"


def check_password(name: str, password: str) -> None:
    """Raises InvalidInput for a password that is too short, too long, or the user's own name."""
    if len(password) < SHORTEST:
        raise InvalidInput(f"The password needs at least {SHORTEST} characters.", field="password")
    if len(password) > LONGEST:
        raise InvalidInput(f"The password may have at most {LONGEST} characters.", field="password")
    if name and name in password.lower() and len(password) < len(name) + SHORTEST:
        raise InvalidInput("The password must not be made of the name.", field="password")


async def hash_password(password: str, limiter: CapacityLimiter) -> str:
    """The argon2id hash, with its salt and parameters in its text."""
    return await to_thread.run_sync(partial(PasswordHasher().hash, password), limiter=limiter)


async def is_password(password_hash: str | None, password: str, limiter: CapacityLimiter) -> bool:
    """True when the password is the hash's. None: false, after as long a time."""
    return await to_thread.run_sync(partial(_verify, password_hash, password), limiter=limiter)


def _verify(password_hash: str | None, password: str) -> bool:
    try:
        found = PasswordHasher().verify(password_hash or NOBODY, password)
    except (Argon2Error, InvalidHashError):
        return False
    return found and password_hash is not None
