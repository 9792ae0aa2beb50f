"""Links to approvals: for whom, until when, and signed, so that nobody else can make one."""

from __future__ import annotations

import json
from dataclasses import dataclass

from resonate_web.config import Settings
from resonate_web.errors import ConfigError
from resonate_web.gateway.signing import APPROVAL, Signer

PATH = "/approvals/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What a genuine link says: the approval, whose link it is ("" for whoever has it), and its end in ms."""

    id: str
    approver: str
    expires_at: int


class Links:
    """Makes and opens the links of one installation."""

    def __init__(self, settings: Settings, signer: Signer) -> None:
        self._settings = settings
        self._signer = signer

    def address(self, id: str, approver: str, expires_at: int) -> str:
        """Return the absolute URL of a link, for mails. Raises: ConfigError without RESONATE_BASE_URL."""
        base = self._settings.base_url
        if base is None:
            raise ConfigError(
                f"{id} has no link: a link that is mailed is absolute, so set RESONATE_BASE_URL to the address under "
                "which people reach this application, such as https://shop.example"
            )
        return base.rstrip("/") + self.path(id, approver, expires_at)

    def path(self, id: str, approver: str, expires_at: int) -> str:
        """Return the path of a link below the mount point of the application."""
        said = json.dumps([id, approver], ensure_ascii=False, separators=(",", ":"))
        return f"{self._settings.prefix}{PATH}{self._signer.token(APPROVAL, said, expires_at)}"

    def opened(self, token: str) -> Link | None:
        """Return what a token says, None if it is not one of ours; the caller looks at its end."""
        found = self._signer.opened(APPROVAL, token)
        if found is None:
            return None
        id, approver = json.loads(found.text)
        return Link(id=id, approver=approver, expires_at=found.expires_at)
