"""The rows of tasks that this process holds, as it last wrote them: the happy path reads nothing.

Rows enter after a commit and leave with their task, or on any doubt. A stale row is harmless: each
write carries the revision it expects.
"""

from __future__ import annotations

from resonate_web.machine.state import PromiseRow, TaskRow
from resonate_web.protocol.records import PromiseState, TaskState


class RowCache:
    """Rows by id with their revisions; used by one committing thread at a time."""

    def __init__(self) -> None:
        self.tasks: dict[str, tuple[TaskRow, int]] = {}
        self.promises: dict[str, tuple[PromiseRow, int]] = {}
        self._owned: dict[str, set[str]] = {}

    def note_task(self, row: TaskRow, revision: int) -> None:
        """Keep an acquired task; let go of another with everything it owned."""
        if row.state is TaskState.ACQUIRED:
            self.tasks[row.id] = (row, revision)
        else:
            self.drop(row.id)

    def note_promise(self, row: PromiseRow, revision: int) -> None:
        """Keep the pending promise of a held task, or one that a held task created."""
        id, owner = row.record.id, row.owner
        pending = row.record.state is PromiseState.PENDING
        if pending and (id in self.tasks or owner in self.tasks):
            self.promises[id] = (row, revision)
            if owner is not None and owner in self.tasks:
                self._owned.setdefault(owner, set()).add(id)
        elif self.promises.pop(id, None) is not None and owner is not None:
            self._owned.get(owner, set()).discard(id)

    def drop(self, id: str) -> None:
        """Forget a task, its promise, and the promises it created."""
        self.tasks.pop(id, None)
        self.promises.pop(id, None)
        for child in self._owned.pop(id, ()):
            if child not in self.tasks:
                self.promises.pop(child, None)
