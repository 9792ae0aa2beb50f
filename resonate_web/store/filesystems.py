"""On what kind of file system a path lies (Linux; elsewhere nothing is known and nothing refused)."""

from __future__ import annotations

import os
import re

_NETWORK = re.compile(
    r"nfs\d*|cifs|smb\w*|fuse\..+|9p|virtiofs|ceph|glusterfs|lustre|beegfs|gpfs|afs|ncpfs|vboxsf|prl_fs|fakeowner"
)
_ESCAPE = re.compile(r"\\([0-7]{3})")


def mounts() -> str:
    """Return this process's mount table, or nothing where the system has none."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def network_type(path: str, mountinfo: str) -> str | None:
    """Return the type of the network file system that `path` lies on, None if it is local or unknown."""
    real = os.path.realpath(path)
    best, kind = "", None
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[4])
        inside = point == "/" or real == point or real.startswith(f"{point}/")
        if inside and len(point) >= len(best):  # a later mount on the same point hides the earlier
            best, kind = point, after.split(" ")[0]
    return kind if kind is not None and _NETWORK.fullmatch(kind) else None
