"""What command lines can do, without a command line: each function asks the store and returns plain text.

`flask resonate`, and every later command line, parse their own options and print what comes back. No engine is
started: a command reads and settles promises, the serving processes do the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from resonate_web.errors import ApplicationError, CallerError, NotFound, Unserializable
from resonate_web.gateway.status import deadline, instant
from resonate_web.protocol import tags
from resonate_web.protocol.records import EMPTY, Promise, PromiseState, Value
from resonate_web.protocol.requests import PromiseSettle
from resonate_web.resonate import Resonate
from resonate_web.resonate.deciding import ApprovalView
from resonate_web.resonate.ledger import EVENT, Event
from resonate_web.resonate.proceeding import check
from resonate_web.workflow.codec import error_document, from_data
from resonate_web.workflow.recorded import ATTEMPT, kind_of, name_of

_INDENT = "  "
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}
EVERYTHING = 1 << 31
"""Of trees, in one call of `prune`."""


def list_runs(resonate: Resonate, *, after: str | None = None, limit: int = 100) -> str:
    """Return one line per root promise: id, state, workflow, creation time; `after` is the last id seen."""
    found = resonate.runs(after=after, limit=limit)
    blocked = {task.id for task in resonate.runtime.server.halted()}
    lines = [
        f"{p.id}  {'blocked' if p.id in blocked else p.state}  {name_of(p)}  {instant(p.created_at)}" for p in found
    ]
    return "\n".join(lines) or "no runs"


def show(resonate: Resonate, id: str) -> str:
    """Return everything that is recorded of one promise, tracebacks included. Raises: NotFound."""
    promise = resonate.record(id)
    lines = [
        f"id       {promise.id}",
        f"state    {promise.state}",
        f"created  {instant(promise.created_at)}",
        f"timeout  {instant(promise.timeout_at)}",
    ]
    if promise.settled_at is not None:
        lines.append(f"settled  {instant(promise.settled_at)}")
    lines += [f"tag      {name}={value}" for name, value in sorted(promise.tags.items())]
    lines.append(f"param    {_payload(promise.param)}")
    if promise.state is PromiseState.REJECTED:
        lines += ["error", _indented(_failure(promise.value))]
    elif promise.state is PromiseState.RESOLVED:
        lines.append(f"value    {_payload(promise.value)}")
    return "\n".join(lines)


def tree(resonate: Resonate, id: str) -> str:
    """Return a run and all that it recorded, indented by who made what. Raises: NotFound."""
    root, *others = resonate.tree(id)
    lines = [_line(root), *_below(root.id, _by_parent(others), _INDENT)]
    run = resonate.view(id)
    if run is not None and not run.done:
        lines[0] = f"{run.promise.id}  {run.function or '-'}  {run.status}" + (f": {run.reason}" if run.reason else "")
    return "\n".join(lines)


def resolve(resonate: Resonate, id: str, value: str | None) -> str:
    """Resolve a promise with a JSON text. Raises: NotFound, Unserializable when the text is not JSON."""
    return _settled(resonate, id, PromiseState.RESOLVED, resonate.codec.encode(_parsed(value)))


def reject(resonate: Resonate, id: str, message: str) -> str:
    """Reject a promise with a message. Raises: NotFound."""
    return _settled(resonate, id, PromiseState.REJECTED, resonate.codec.encode_error(ApplicationError(message)))


def cancel(resonate: Resonate, id: str) -> str:
    """Cancel a promise; a run's open children are canceled with it. Raises: NotFound."""
    return _settled(resonate, id, PromiseState.CANCELED, EMPTY)


def retry(resonate: Resonate, id: str) -> str:
    """Start the next try of a failed run, or let one go on that is held back; the serving processes execute it.

    Raises: NotFound, CallerError.
    """
    run = resonate.view(id)
    if run is not None and not run.done:
        check(id, resonate.runtime.server.submit(*resonate.continuation(id)))
        return f"{id}  goes on"
    new, group = resonate.retrial(id)
    refused = [a for a in resonate.runtime.server.submit(*group) if (a.action or a).status not in (200, 201)]
    if refused:
        raise CallerError(f"{new!r} was not started: {(refused[0].action or refused[0]).error}")
    return f"{new}  started; steps that succeeded are kept"


def prune(resonate: Resonate, older_than: str, *, dry_run: bool = False) -> str:
    """Delete what ended longer ago than `30d`, `12h` or `45m`. Raises: CallerError for another or too short an age."""
    found = resonate.prune(_age(older_than), dry_run=dry_run, limit=EVERYTHING)
    told = f"{_count(found.runs, 'run')} that ended over {older_than} ago ({_count(found.promises, 'promise')} in all)"
    if dry_run:
        return f"would delete {told}"
    return f"deleted {told}" + ("; their ids are unknown now and can run again" if found.promises else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _age(text: str) -> timedelta:
    number, unit = text[:-1], _UNITS.get(text[-1:])
    if unit is None or not number.isdecimal() or len(number) > 6:
        raise CallerError(f"{text!r} is not an age: write days, hours or minutes, such as 30d, 12h or 45m")
    return timedelta(**{unit: int(number)})


def approvals(resonate: Resonate, *, approver: str | None = None, after: str | None = None, limit: int = 100) -> str:
    """Return one line per open approval: id, how many have approved, who is asked, until when, and the question."""
    found = resonate.approvals.pending(approver, after, limit)
    return "\n".join(map(_question, found)) or "no approvals wait"


def revoke(resonate: Resonate, id: str, by: str | None = None) -> str:
    """Withdraw an approval; the workflow sees it as revoked. Raises: NotFound."""
    before = resonate.approvals.get(id)
    if before.state != "pending":
        return f"{before.id}  was {before.state} already; nothing was changed"
    after = resonate.approvals.revoke(id, by)
    return f"{after.id}  {after.state}"


def _question(view: ApprovalView) -> str:
    asked = view.question
    given = sum(vote.decision == "approve" for vote in view.votes)
    who = ", ".join(asked.approvers) or ("whoever logs in" if asked.require_login else "whoever has the link")
    until = deadline(view.promise.timeout_at) or "no deadline"
    return f"{view.id}  {given} of {asked.quorum}  {who}  {until}  {asked.summary}".rstrip()


def _settled(resonate: Resonate, id: str, state: PromiseState, value: Value) -> str:
    # Not by `resonate.promises`, whose verbs start the engine: a command would take up interrupted runs.
    [answer] = resonate.runtime.server.submit(PromiseSettle(id=id, state=state, value=value))
    promise = answer.promise
    if promise is None:
        raise NotFound(f"no promise has the id {id!r}")
    if promise.state is state and promise.value == value:
        return f"{promise.id}  {promise.state}"
    return f"{promise.id}  was {promise.state} already; nothing was changed"


def _parsed(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise Unserializable(f"the value is not JSON ({error}); write a text in double quotes") from None


def _by_parent(promises: Iterable[Promise]) -> dict[str, list[Promise]]:
    found: dict[str, list[Promise]] = {}
    for promise in promises:
        found.setdefault(promise.tags.get(tags.PARENT, ""), []).append(promise)
    return found


def _below(id: str, children: dict[str, list[Promise]], indent: str) -> Iterator[str]:
    for child in children.get(id, ()):
        yield indent + _line(child)
        yield from _below(child.id, children, indent + _INDENT)


def _line(promise: Promise) -> str:
    if ATTEMPT in promise.tags:
        error = error_document(promise.value)
        return f"attempt {promise.tags[ATTEMPT]} failed: {error['name']}: {error['message']}"
    if EVENT in promise.tags:
        return _event(Event.of(promise))
    name = name_of(promise)
    line = f"{promise.id}  {name}  {promise.state}"
    if promise.tags.get(tags.PARENT, promise.id) != promise.id:
        line = f"{promise.id}  {name}  {kind_of(promise)}  {promise.state}"
    if promise.state is PromiseState.REJECTED:
        error = error_document(promise.value)
        line += f": {error['name']}: {error['message']}"
    return line


def _event(event: Event) -> str:
    said = f" {event.decision}" if event.decision else ""
    return f"{event.kind}{said} by {event.by or event.approver or 'somebody'} at {instant(event.at)}"


def _failure(value: Value) -> str:
    error = error_document(value)
    return str(error["stack"] or f"{error['name']}: {error['message']}").rstrip()


def _payload(value: Value) -> str:
    if not value.data:
        return "-"
    try:
        return from_data(value.data)
    except Unserializable:
        return value.data


def _indented(text: str) -> str:
    return "\n".join(_INDENT + line for line in text.splitlines())
