"""The number of threads of an experiment, and how they wait for each other. Only this module decides both.

The number of threads changes the order of sums, and so the last digits of results. Environment variables alone do not
fix the number: MKL uses at most as many threads as the machine has cores, and prefers its own variable. Only a call to
torch sets it exactly.

In GNU's OpenMP, which torch uses on Linux, a waiting thread spins for many milliseconds. Next to another busy process,
the thread that it waits for is often not running, and the time is lost. Spinning only for a short time, then sleeping,
avoids that. The policy is read when the library is loaded, so it must be set before torch is imported, and in a fork
server.

`scripts/bench/threads.py` measures the cost and the gain of the policy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from sft.processors import usable_processors

NUMBER = "OMP_NUM_THREADS"
MOST_THREADS = 1024  # more are a typing error, and a process may not get them
_LIMIT = "OMP_THREAD_LIMIT"
_DYNAMIC = "OMP_DYNAMIC"  # allows fewer threads on a busy machine, which silently changes results
_OWN_NUMBER = (NUMBER, "MKL_NUM_THREADS")  # the user may have set the number by these
# PASSIVE alone sleeps immediately: training on an idle machine takes 11 % longer, since threads must wake up each time.
# 1,000 spins are about 65 microseconds on Intel (the default, 300,000, is 20 milliseconds) and cost nothing measurable.
# They apply only to GNU's OpenMP and override PASSIVE there; the OpenMP of LLVM and Intel follow PASSIVE.
POLICY: Mapping[str, str] = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
# Each of them sets how threads wait, in GNU's, LLVM's or Intel's OpenMP.
_OWN_POLICY = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


def default_threads(at_a_time: int = 1, environment: Mapping[str, str] = os.environ) -> int:
    """Return the default number of threads of an experiment.

    It is the number that the user has set in the environment, else the usable processors divided by the experiments.

    Args:
        at_a_time: experiments that run at the same time.
        environment: the variables.
    """
    own = [number for name in _OWN_NUMBER if (number := _number(environment.get(name)))]
    return own[0] if own else max(1, _processors(environment) // at_a_time)


def too_many(threads: int, at_a_time: int, environment: Mapping[str, str] = os.environ) -> int | None:
    """Return the number of usable processors if concurrent experiments use more threads than that; else None."""
    processors = _processors(environment)
    return processors if at_a_time > 0 and threads * at_a_time > processors else None


def thread_variables(threads: int | None, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the additional environment variables of a computing process.

    Args:
        threads: the number of threads; None: as in the environment.
        environment: the inherited variables; a policy that the user has set stays.
    """
    variables = {} if any(name in environment for name in _OWN_POLICY) else dict(POLICY)
    if threads is not None:
        variables[NUMBER] = str(threads)
        if _DYNAMIC in environment:
            variables[_DYNAMIC] = "FALSE"
    return variables


def set_wait_policy() -> None:
    """Set how threads wait in this process. Call it before importing anything heavy."""
    os.environ.update(thread_variables(None))


def use_threads(threads: int | None) -> None:
    """Set the number of threads of this process, even after the libraries were loaded. Imports torch.

    Args:
        threads: the number of threads; None: the default of an experiment that runs alone.
    """
    number = threads or default_threads()
    os.environ.update(thread_variables(number))
    import torch

    torch.set_num_threads(number)


def _processors(environment: Mapping[str, str]) -> int:
    limit = _number(environment.get(_LIMIT))
    return min(usable_processors(), limit) if limit else usable_processors()


def _number(text: str | None) -> int | None:
    """Return the number that a variable sets, the first of a list (`4,2`, for nested regions); None if unset."""
    first = (text or "").split(",")[0].strip()
    return int(first) if first.isascii() and first.isdecimal() and int(first) > 0 else None
