"""Errors as problem documents (RFC 9457), the same from every framework.

The `type` is `urn:resonate-web:problem:<slug>`, stable across releases; `slug` and `status` are those of the
error's class. `title` is the class's first docstring line. `detail` is given only where the client can act on
it: what the server's own state is (an id in use, an unknown id, a store's path) is not told.
"""

from __future__ import annotations

from collections.abc import Mapping

from resonate_web.errors import (
    IdInUse,
    InvalidAnswer,
    InvalidId,
    InvalidKey,
    KeyInUse,
    KeyMissing,
    KeyReused,
    NotAllowed,
    NotFound,
    ResonateError,
    Stopped,
    StoreUnavailable,
    StoreUnknown,
    TooLarge,
)
from resonate_web.gateway.messages import PROBLEM, Response, answer, encoded

TYPE = "urn:resonate-web:problem:"

ANSWERED: tuple[type[ResonateError], ...] = (
    InvalidId,
    TooLarge,
    IdInUse,
    InvalidKey,
    KeyMissing,
    KeyReused,
    KeyInUse,
    InvalidAnswer,
    NotAllowed,
    NotFound,
    StoreUnavailable,
    StoreUnknown,
    Stopped,
)
"""Errors that a client may meet: raised in a view they become problems. All others are faults of the server's code."""

RETRY_AFTER = 1
"""Seconds after which a client may try again when the store or the process was not ready, or its first try runs."""

_PRIVATE = (("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer"))  # a token may be in the URL
_TELLING = frozenset({400, 413, 415, 422})
_NOT_FOUND = "There is nothing here, or it is not yours to see."


class Refused(Exception):
    """A request ends here, with this answer."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"a request was answered with {response.status}")
        self.response = response


def refusal(status: int, slug: str, title: str, detail: str | None = None, **members: object) -> Refused:
    """Return what ends a request with a problem document, to be raised."""
    return Refused(problem(status, slug, title, detail, members=members))


def problem(
    status: int,
    slug: str,
    title: str,
    detail: str | None = None,
    *,
    headers: tuple[tuple[str, str], ...] = (),
    members: Mapping[str, object] = {},
) -> Response:
    """Return a problem document, with members of its own type; problems are never stored by caches."""
    document: dict[str, object] = {"type": TYPE + slug, "title": title, "status": status}
    if detail is not None:
        document["detail"] = detail
    document.update(members)
    return answer(status, encoded(document), media_type=PROBLEM, headers=(*_PRIVATE, *headers))


def problem_of(error: ResonateError) -> Response:
    """Return the problem document of an error: its class's status and slug (see `errors`)."""
    if error.status == 404:
        return not_found()
    title = (type(error).__doc__ or "").strip().partition("\n")[0]
    detail = str(error) if error.status in _TELLING else None
    later = error.status == 503 or isinstance(error, KeyInUse)
    headers = (("Retry-After", str(RETRY_AFTER)),) if later else ()
    members = {"errors": error.errors} if isinstance(error, InvalidAnswer) else {}
    detail = detail if detail != title else None
    return problem(error.status, error.slug, title, detail, headers=headers, members=members)


def not_found() -> Response:
    """Return the one 404: the same bytes for what is unknown, forged and somebody else's."""
    return problem(404, NotFound.slug, _NOT_FOUND)


def method_not_allowed(allow: str) -> Response:
    """Return 405 with the methods that the route has."""
    return problem(405, "method-not-allowed", "The resource does not have this method.", headers=(("Allow", allow),))
