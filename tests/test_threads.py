"""The number of threads and their wait policy: the environment of processes, and the threads that they use."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from sft import threads
from sft.threads import POLICY, default_threads, thread_variables, too_many


@pytest.fixture(autouse=True)
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_processors", lambda: 8)


@pytest.mark.parametrize(
    ("environment", "at_a_time", "expected"),
    [
        ({}, 1, 8), ({}, 3, 2), ({}, 20, 1), ({"OMP_NUM_THREADS": "5"}, 3, 5), ({"OMP_NUM_THREADS": " 4,2"}, 1, 4),
        ({"MKL_NUM_THREADS": "3"}, 2, 3), ({"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "3"}, 1, 2),
        ({"OMP_NUM_THREADS": ""}, 2, 4), ({"OMP_NUM_THREADS": "0"}, 2, 4), ({"OMP_NUM_THREADS": "all"}, 2, 4),
        ({"OMP_THREAD_LIMIT": "4"}, 1, 4), ({"OMP_THREAD_LIMIT": "40"}, 1, 8),
    ],
)  # fmt: skip
def test_the_default_is_the_users_number_or_a_share_of_the_processors(
    environment: dict[str, str], at_a_time: int, expected: int
) -> None:
    assert default_threads(at_a_time, environment) == expected


def test_more_threads_than_processors_are_noticed() -> None:
    assert (too_many(4, 2, {}), too_many(4, 3, {}), too_many(9, 1, {})) == (None, 8, 8)


def test_a_policy_is_set_unless_the_user_has_set_one() -> None:
    assert thread_variables(None, {}) == dict(POLICY)
    assert thread_variables(3, {}) == {**POLICY, "OMP_NUM_THREADS": "3"}
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY"):
        assert thread_variables(3, {name: "x"}) == {"OMP_NUM_THREADS": "3"}


def test_dynamic_threads_are_turned_off() -> None:
    assert thread_variables(3, {"OMP_DYNAMIC": "true"})["OMP_DYNAMIC"] == "FALSE"


COMPUTE = """
import os, sys
{before}
from sft.threads import use_threads
use_threads({number})
import torch, hashlib
torch.manual_seed(0)
rows = torch.randn(3_000_000)
product = torch.randn(300, 700) @ torch.randn(700, 300)
print(torch.get_num_threads(), hashlib.sha256(rows.sum().numpy().tobytes() + product.numpy().tobytes()).hexdigest())
"""


def computed(number: int | None, before: str = "", **variables: str) -> tuple[int, str]:
    """Return the threads of a process with this setting, and its result."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MKL_", "GOMP_", "KMP_"))}
    code = COMPUTE.format(number=number, before=before)
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**kept, **variables}
    )
    count, digest = answer.stdout.split()
    return int(count), digest


ONE_PROCESSOR = "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processors are taken away in Linux's way")
@pytest.mark.parametrize(
    "others", [[ONE_PROCESSOR], pytest.param(["", ONE_PROCESSOR], marks=pytest.mark.long)], ids=["two", "three"]
)
def test_the_number_is_exact_in_any_environment(others: list[str]) -> None:
    """MKL's own variable and its cap at the machine's cores, libraries loaded before, and one processor only."""
    more = (os.cpu_count() or 1) + 2
    limits = {"MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OMP_DYNAMIC": "true"}
    count, expected = computed(more, before="import torch, sklearn.metrics", **limits)
    assert count == more
    for before in others:
        assert computed(more, before=before) == (more, expected)


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP says what it has read")
@pytest.mark.parametrize(
    ("own", "policy"), [({}, None), pytest.param({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE", marks=pytest.mark.long)]
)
def test_a_command_sets_the_policy_before_the_library_is_loaded(own: dict[str, str], policy: str | None) -> None:
    """Read it from the library, which prints its settings at its start."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    code = (
        "import sys\nfrom sft.cli.main import main\nsys.argv[1:] = ['schema']\n"
        "try:\n    main()\nfinally:\n    import torch"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, env={**kept, **own, "OMP_DISPLAY_ENV": "VERBOSE"},
    )  # fmt: skip
    expected = {"OMP_WAIT_POLICY": policy} if policy else dict(POLICY)
    for name, value in expected.items():
        assert re.findall(rf"{name} = '(\w+)'", answer.stderr) == [value]
