"""One row of the route table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from resonate_web.flow import Flow
from resonate_web.gateway.messages import Request, Response

Answer = Callable[[Any, Request, str], Flow[Response]]
"""Answers a request whose path held the given argument, for a gateway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Paths that begin with `head` and end with `tail`; what lies between is the route's one argument.

    An `exact` route is its head alone; `takes` is what the argument is called in descriptions. `methods` names the
    answer of each method; HEAD and OPTIONS follow from it.
    """

    name: str
    head: str
    tail: str = ""
    exact: bool = False
    takes: str = "id"
    methods: Mapping[str, Answer]

    def argument(self, path: str) -> str | None:
        """Return what the path holds between head and tail, None if it is not of this route."""
        if self.exact:
            return "" if path == self.head else None
        if not (path.startswith(self.head) and path.endswith(self.tail)):
            return None
        end = len(path) - len(self.tail)
        return path[len(self.head) : end] if end >= len(self.head) else None
