"""At-fork hooks for all stores: a forked child must not find a lock held or a handle open.

The hooks are installed when this module is imported; they open nothing and keep no store alive.
"""

from __future__ import annotations

import os
import weakref


class ForkAware:
    """An object with locks or handles that must not be shared with a forked child."""

    def before_fork(self) -> None:
        """Come to rest; runs in the parent, in the thread that forks."""

    def after_fork(self) -> None:
        """Go on; runs in the parent after the fork, in the same thread."""

    def after_fork_in_child(self) -> None:
        """Replace what was inherited; runs in the child before any other code."""


_watched: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def watch_forks(thing: ForkAware) -> None:
    """Call the methods of `thing` around every fork while it lives."""
    _watched.add(thing)


def _before() -> None:
    for thing in list(_watched):
        thing.before_fork()


def _after() -> None:
    for thing in list(_watched):
        thing.after_fork()


def _in_child() -> None:
    for thing in list(_watched):
        thing.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_in_child)
