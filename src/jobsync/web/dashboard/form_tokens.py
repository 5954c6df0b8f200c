"""Form tokens: each form carries one that only its page, for this session, could have been given.

The token of a form is an HMAC of its action under the secret of the session, so a token of another form, another session
or another site is refused, and nothing has to be stored. It is masked anew on each page (a compressed page must not show
the same secret bytes twice).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

_SIZE = 32


def make_token(secret: str, action: str) -> str:
    """The token for a form that is sent to the path `action`."""
    mask = secrets.token_bytes(_SIZE)
    return base64.urlsafe_b64encode(mask + _mix(mask, _sign(secret, action))).decode()


def is_token(text: str, secret: str, action: str) -> bool:
    """True for a token that `make_token` made for this session and path."""
    try:
        given = base64.urlsafe_b64decode(text.encode("ascii"))
    except (ValueError, binascii.Error):
        return False
    if len(given) != 2 * _SIZE:
        return False
    return hmac.compare_digest(_mix(given[:_SIZE], given[_SIZE:]), _sign(secret, action))


def _sign(secret: str, action: str) -> bytes:
    return hmac.new(secret.encode("utf-8", "surrogateescape"), b"form\n" + action.encode(), hashlib.sha256).digest()


def _mix(mask: bytes, text: bytes) -> bytes:
    return bytes(left ^ right for left, right in zip(mask, text, strict=True))
