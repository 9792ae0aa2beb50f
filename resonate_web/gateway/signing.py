"""Signed texts: what this installation once said, recognised when it comes back.

HMAC-SHA256 with a key per purpose, so that a signature made for one use opens nothing else. The ring is
ordered oldest to newest: every key verifies, the last one signs. Signatures without an expiry are
deterministic: the same text has the same link for as long as its key signs.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from resonate_web.errors import ConfigError

STATUS = "status"
"""Purpose of the signature in a status link."""
CANCEL = "cancel"
"""Purpose of the signature in a link that cancels a run."""
APPROVAL = "approval"
"""Purpose of the token in an approval link."""
FORM = "form"
"""Purpose of the nonce in a form."""

MIN_KEY = 16
"""Characters that a key in `RESONATE_SIGNING_KEYS` must have at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What a genuine token says; `expires_at` is an instant in ms."""

    text: str
    expires_at: int

    def expired(self, now: int) -> bool:
        """Tell whether the token's time is over at `now` (ms)."""
        return now >= self.expires_at


class Signer:
    """Sign and verify under a key ring that is made at first use, never at import or construction."""

    def __init__(self, ring: Callable[[], Sequence[bytes]]) -> None:
        self._make = ring
        self._rings: dict[str, tuple[bytes, ...]] = {}

    def signature(self, purpose: str, text: str) -> str:
        """Return the newest key's signature of `text`: 43 URL-safe characters."""
        return _signed(self._keys(purpose)[-1], text)

    def verifies(self, purpose: str, text: str, signature: str) -> bool:
        """Tell whether any key of the ring made this signature; compared as text, in constant time."""
        given = signature.encode("utf-8", "replace")
        matches = [hmac.compare_digest(_signed(key, text).encode(), given) for key in self._keys(purpose)]
        return any(matches)

    def token(self, purpose: str, text: str, expires_at: int) -> str:
        """Return `text` and its expiry (ms) in one URL-safe, signed word."""
        body = f"{_urlsafe(text.encode())}.{expires_at}"
        return f"{body}.{self.signature(purpose, body)}"

    def opened(self, purpose: str, token: str) -> Token | None:
        """Return what a token of this purpose says, None if it is not ours; the caller looks at its expiry."""
        body, _, signature = token.rpartition(".")
        if not self.verifies(purpose, body, signature):
            return None
        text, _, expires_at = body.partition(".")
        return Token(text=base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode(), expires_at=int(expires_at))

    def _keys(self, purpose: str) -> tuple[bytes, ...]:
        """Return the ring of a purpose; the keys themselves are not kept."""
        ring = self._rings.get(purpose)
        if ring is None:
            ring = tuple(_mac(key, f"resonate_web purpose {purpose}") for key in self._make())
            self._rings[purpose] = ring
        return ring


def checked_keys(keys: Iterable[str]) -> tuple[str, ...]:
    """Return the configured keys. Raises: ConfigError for one that is too short to resist guessing."""
    found = tuple(keys)
    if any(len(key) < MIN_KEY for key in found):
        raise ConfigError(f"each of RESONATE_SIGNING_KEYS needs at least {MIN_KEY} characters")
    return found


def key_ring(own: Sequence[str], framework: Iterable[str | bytes], stored: Callable[[], bytes]) -> tuple[bytes, ...]:
    """Return the ring: our own keys, else keys derived from the framework's secrets, else the store's.

    Each source is ordered oldest to newest. The derivation keeps a leak of our key from opening the
    framework's sessions. `stored` is only called when nothing else is configured.
    """
    if own:
        return tuple(key.encode() for key in own)
    derived = tuple(_mac(_bytes(secret), "resonate_web signing key 1") for secret in framework if secret)
    return derived or (stored(),)


def _signed(key: bytes, text: str) -> str:
    return _urlsafe(_mac(key, text))


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256")


def _bytes(secret: str | bytes) -> bytes:
    return secret.encode() if isinstance(secret, str) else secret


def _urlsafe(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
