"""The processors that a process may use: affinity, and the quotas of its cgroups in the kernel's files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft.processors import cpu_quota, usable_processors

VERSION_2 = "25 20 0:22 {part} {point} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
VERSION_1 = "33 32 0:29 {part} {point} rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n"
OTHERS = (
    "20 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
    "32 20 0:28 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755\n"
    "34 32 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
    "35 32 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
)


def write(root: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    """A tree of files as `/proc` and `/sys` have them."""
    for name, text in {"proc/self/cgroup": groups, "proc/self/mountinfo": OTHERS + mounts, **files}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return root


def version_1(folder: str, quota: int, period: int = 100_000) -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": f"{quota}\n", f"{folder}/cpu.cfs_period_us": f"{period}\n"}


@pytest.mark.parametrize(
    ("text", "quota"),
    [("200000 100000\n", 2.0), ("150000 100000\n", 1.5), ("50000 20000\n", 2.5), ("max 100000\n", None), ("", None),
     ("many\n", None), ("100000 0\n", None)],
)  # fmt: skip
def test_a_quota_of_version_2(tmp_path: Path, text: str, quota: float | None) -> None:
    mount = VERSION_2.format(part="/", point="/sys/fs/cgroup")
    root = write(tmp_path, "0::/\n", mount, {"sys/fs/cgroup/cpu.max": text})
    assert cpu_quota(root) == quota


def test_the_smallest_quota_of_all_parents_counts(tmp_path: Path) -> None:
    """A scheduler limits the job; the step inside it has no limit."""
    files = {
        "sys/fs/cgroup/slurm/cpu.max": "800000 100000\n",
        "sys/fs/cgroup/slurm/job_7/cpu.max": "300000 100000\n",
        "sys/fs/cgroup/slurm/job_7/step_0/cpu.max": "max 100000\n",
        "sys/fs/cgroup/other/cpu.max": "100000 100000\n",
    }
    mount = VERSION_2.format(part="/", point="/sys/fs/cgroup")
    assert cpu_quota(write(tmp_path, "0::/slurm/job_7/step_0\n", mount, files)) == 3.0


def test_a_quota_of_version_1_beside_an_empty_version_2(tmp_path: Path) -> None:
    groups = "9:name=systemd:/\n4:cpu,cpuacct:/docker/abc\n3:cpuset:/\n0::/\n"
    mounts = VERSION_1.format(part="/", point="/sys/fs/cgroup/cpu,cpuacct")
    mounts += VERSION_2.format(part="/", point="/sys/fs/cgroup/unified")
    files = version_1("sys/fs/cgroup/cpu,cpuacct/docker/abc", 250_000) | version_1("sys/fs/cgroup/cpu,cpuacct", -1)
    assert cpu_quota(write(tmp_path, groups, mounts, files)) == 2.5


def test_a_container_sees_its_own_part_of_the_hierarchy(tmp_path: Path) -> None:
    """Its group has the host's name, and only that group is mounted."""
    groups = "4:cpu,cpuacct:/docker/abc\n"
    mount = VERSION_1.format(part="/docker/abc", point="/sys/fs/cgroup/cpu")
    root = write(tmp_path, groups, mount, version_1("sys/fs/cgroup/cpu", 400_000))
    assert cpu_quota(root) == 4.0


@pytest.mark.parametrize("group", ["/../../outside", "/elsewhere/xyz"])
def test_a_group_that_is_not_mounted_counts_as_the_mounted_one(tmp_path: Path, group: str) -> None:
    mount = VERSION_2.format(part="/docker/abc", point="/sys/fs/cgroup")
    root = write(tmp_path, f"0::{group}\n", mount, {"sys/fs/cgroup/cpu.max": "100000 100000\n"})
    assert cpu_quota(root) == 1.0


def test_names_with_colons_and_spaces(tmp_path: Path) -> None:
    mount = VERSION_2.format(part="/", point="/sys/fs/my\\040groups")
    files = {"sys/fs/my groups/user:1/a b/cpu.max": "700000 100000\n"}
    assert cpu_quota(write(tmp_path, "0::/user:1/a b\n", mount, files)) == 7.0


@pytest.mark.parametrize("groups", ["", "nonsense\n\n::\n", "0::\n"])
def test_files_without_a_limit(tmp_path: Path, groups: str) -> None:
    mounts = "short line\n1 2 3 - cgroup2\n" + VERSION_2.format(part="/", point="/sys/fs/cgroup")
    assert cpu_quota(write(tmp_path, groups, mounts, {})) is None
    assert cpu_quota(tmp_path / "nowhere") is None


LIMITS = st.one_of(st.none(), st.tuples(st.integers(1_000, 10**8), st.integers(1_000, 10**6)))


@settings(max_examples=60, deadline=None)
@given(limits=st.lists(LIMITS, min_size=1, max_size=6), old=st.booleans(), inside=st.integers(0, 5))
def test_any_chain_of_limits(tmp_path_factory: pytest.TempPathFactory, limits: list, old: bool, inside: int) -> None:  # type: ignore[type-arg]
    """The smallest limit applies, whichever part of the hierarchy is mounted."""
    inside = min(inside, len(limits) - 1)
    names = [f"g{number}" for number in range(1, len(limits))]
    part = "/" + "/".join(names[:inside])
    mounted, point = limits[inside:], "/sys/fs/cgroup/cpu" if old else "/sys/fs/cgroup"
    files: dict[str, str] = {}
    for depth, limit in enumerate(mounted):
        folder = "/".join([point[1:], *names[inside : inside + depth]])
        quota, period = limit or (-1 if old else "max", 100_000)
        files |= version_1(folder, quota, period) if old else {f"{folder}/cpu.max": f"{quota} {period}\n"}
    group = "/" + "/".join(names)
    groups = f"5:cpu,cpuacct:{group}\n0::/\n" if old else f"0::{group}\n"
    root = write(
        tmp_path_factory.mktemp("root"), groups, (VERSION_1 if old else VERSION_2).format(part=part, point=point), files
    )
    assert cpu_quota(root) == min((quota / period for quota, period in filter(None, mounted)), default=None)


@pytest.mark.parametrize(("quota", "processors"), [("max", None), ("20000", 1), ("190000", 1), ("99900000", None)])
def test_a_quota_is_rounded_down_and_never_above_the_affinity(
    tmp_path: Path, quota: str, processors: int | None
) -> None:
    mount = VERSION_2.format(part="/", point="/sys/fs/cgroup")
    root = write(tmp_path, "0::/\n", mount, {"sys/fs/cgroup/cpu.max": f"{quota} 100000\n"})
    here = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    assert usable_processors(root) == (processors or here)
