"""Who is asking, which runs they may see, and the link that lets them.

`status_access` is `link` (whoever has the signed URL), `public`, or a callable `(request, promise) -> bool`.
`cancel_access` is the same for canceling, with a link of its own: who may read may not cancel for that reason.
A refusal is always the answer for an unknown id, and with `link` it is given before the store is asked.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from urllib.parse import quote, urlsplit

from resonate_web.config import Settings
from resonate_web.errors import ConfigError
from resonate_web.gateway.messages import Request
from resonate_web.gateway.signing import CANCEL, STATUS, Signer
from resonate_web.protocol.records import Promise

SIGNATURE = "sig"
"""Query parameter of a signed link."""


class Access:
    """The access rules of one installation."""

    def __init__(self, settings: Settings, signer: Signer) -> None:
        self._settings = settings
        self._signer = signer

    def status_url(self, id: str, root: str) -> str:
        """Return the URL of a run's status below the mount point `root`, signed when links give access.

        Absolute if RESONATE_BASE_URL is set, else a path. A path in the base URL replaces `root`.
        """
        url = f"{self._origin(root)}{self._settings.prefix}/status/{quote(id, safe='/')}"
        if self._settings.status_access != "link":
            return url
        return f"{url}?{SIGNATURE}={self._signer.signature(STATUS, id)}"

    def cancel_url(self, id: str, root: str) -> str:
        """Return the URL that cancels a run when something is posted to it, signed when links give access."""
        url = f"{self._origin(root)}{self._settings.prefix}/status/{quote(id, safe='/')}/cancel"
        if self._settings.cancel_access != "link":
            return url
        return f"{url}?{SIGNATURE}={self._signer.signature(CANCEL, id)}"

    def cancel_page(self, request: Request, id: str) -> str | None:
        """Return where who has opened a signed cancel link finds the form, None for every other request."""
        if self._settings.cancel_access != "link" or not self.cancels(request, id, SIGNATURE):
            return None
        url = self.status_url(id, request.root)
        return f"{url}{'&' if '?' in url else '?'}{CANCEL}={request.argument(SIGNATURE)}"

    def cancels(self, request: Request, id: str, parameter: str) -> bool:
        """Tell whether the request may cancel this run at all; decided without the store.

        A link that may is known by its signature in a query parameter; the one of the status is none.
        """
        if self._settings.cancel_access != "link":
            return True
        signature = request.argument(parameter)
        return signature is not None and self._signer.verifies(CANCEL, id, signature)

    def stops(self, request: Request, promise: Promise) -> bool:
        """Tell whether the request may cancel this run, as the user's callable decides."""
        rule = self._settings.cancel_access
        return bool(rule(request.native, promise)) if callable(rule) else True

    def opens(self, request: Request, id: str) -> bool:
        """Tell whether the request may ask for this run at all; decided without the store."""
        if self._settings.status_access != "link":
            return True
        signature = request.argument(SIGNATURE)
        return signature is not None and self._signer.verifies(STATUS, id, signature)

    def shows(self, request: Request, promise: Promise) -> bool:
        """Tell whether the request may see this run, as the user's callable decides."""
        rule = self._settings.status_access
        return bool(rule(request.native, promise)) if callable(rule) else True

    def _origin(self, root: str) -> str:
        base = self._settings.base_url
        if base is None:
            return quote(root, safe="/").rstrip("/")
        mounted = "" if urlsplit(base).path.strip("/") else quote(root, safe="/").rstrip("/")
        return base.rstrip("/") + mounted


def principal(request: Request) -> str | None:
    """Return who is asking, None for nobody. Raises: ConfigError when the configured callable returned no text."""
    found: object = request.identify()
    if found is not None and not isinstance(found, str):
        raise ConfigError(f"RESONATE_PRINCIPAL must return a text or None, not {type(found).__name__}")
    return found or None


def bearer(authorization: str | None, key: Callable[[], bytes]) -> str | None:
    """Return a principal for an Authorization header: a keyed hash, so that the credentials are not stored.

    `key` must never change: the principal of a run is compared for as long as the run is kept.
    """
    if not authorization:
        return None
    return "authorization:" + hmac.digest(key(), authorization.encode("utf-8", "replace"), "sha256").hex()[:32]
