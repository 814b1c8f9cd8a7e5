"""The number of processors that this process may use: its affinity and CPU quota, not the machine's cores.

A container or a scheduler limits processes in one of two ways. It binds them to cores (affinity, cpusets), or it limits
their CPU time (a quota, as in `docker run --cpus 2`): then every core is visible, and threads beyond the quota only
wait. Imports nothing heavy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

_ROOT = Path("/")
_ESCAPED = re.compile(r"\\([0-7]{3})")  # an escaped space in /proc/self/mountinfo


class _Mount(NamedTuple):
    """A mounted hierarchy that limits CPU time: the mounted part, and the mount point."""

    version: int
    part: PurePosixPath
    point: PurePosixPath


def usable_processors(root: Path = _ROOT) -> int:
    """Return the number of threads that can run at the same time: at least 1; a quota of 2.5 processors counts as 2.

    It is rounded down, because the threads of a parallel region wait for the slowest one, which is throttled.

    Args:
        root: the parent folder of `proc` and `sys`.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(root)
    return bound if quota is None else max(1, min(bound, int(quota)))


def cpu_quota(root: Path = _ROOT) -> float | None:
    """Return the CPU time per second that the cgroups of this process allow; None without a limit.

    Both versions of cgroups are read. Limits of parents apply too, so the smallest one counts.

    Args:
        root: the parent folder of `proc` and `sys`.
    """
    groups = _groups(_lines(root / "proc/self/cgroup"))
    quotas = []
    for mount in _mounts(_lines(root / "proc/self/mountinfo")):
        if (group := groups.get(mount.version)) is not None:
            folders = _folders(mount, group)
            quotas += [_quota(mount.version, root / folder.relative_to("/")) for folder in folders]
    return min((quota for quota in quotas if quota is not None), default=None)


def _groups(lines: list[str]) -> dict[int, PurePosixPath]:
    """Return the cgroup of this process by version; for version 1, of the cpu controller. A line: `4:cpu:/a/b`."""
    groups = {}
    for number, controllers, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if not controllers and number == "0":
            groups[2] = PurePosixPath(path)
        elif "cpu" in controllers.split(","):
            groups[1] = PurePosixPath(path)
    return groups


def _mounts(lines: list[str]) -> Iterator[_Mount]:
    """Yield the hierarchies among the mounted file systems (format: proc_pid_mountinfo(5))."""
    for line in lines:
        mounted, _, system = line.partition(" - ")
        fields, kind = mounted.split(), system.split()
        if len(fields) < 5 or len(kind) < 3 or not fields[3].startswith("/") or not fields[4].startswith("/"):
            continue
        version = 2 if kind[0] == "cgroup2" else 1 if kind[0] == "cgroup" and "cpu" in kind[2].split(",") else 0
        if version:
            yield _Mount(version, _path(fields[3]), _path(fields[4]))


def _path(text: str) -> PurePosixPath:
    return PurePosixPath(_ESCAPED.sub(lambda escape: chr(int(escape[1], 8)), text))


def _folders(mount: _Mount, group: PurePosixPath) -> list[PurePosixPath]:
    """Return the mounted folders of a cgroup and its parents.

    In a container the group may have the host's name while only a part of the hierarchy is mounted: then the mounted
    part is the container's own group.
    """
    inside = group.relative_to(mount.part) if group.is_relative_to(mount.part) else PurePosixPath()
    if ".." in inside.parts:
        inside = PurePosixPath()
    return [mount.point / folder for folder in (inside, *inside.parents)]


def _quota(version: int, folder: Path) -> float | None:
    """Return the limit of one cgroup, in processors."""
    if version == 2:
        words = " ".join(_lines(folder / "cpu.max")).split()
    else:
        words = [word for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us") for word in _lines(folder / name)[:1]]
    try:
        quota, period = (float(word) for word in words)
    except ValueError:  # `max 100000`, or no such file
        return None
    return quota / period if quota > 0 and period > 0 else None  # -1: no limit


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
