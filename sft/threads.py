"""How many threads an experiment computes with, and how they wait for each other: the one place that decides both.

Sums are rounded in another order with another number of threads, so results depend on it in their last digits. The
variables of the environment alone do not fix the number: MKL takes no more threads than the machine has cores, and
prefers its own variable. Only torch itself can be told exactly.

GNU's OpenMP, which torch brings on Linux, lets a thread that waits for the others spin for many milliseconds. Beside
another busy process the thread that it waits for is often not running, and the time is lost. Spinning for a short time
only, then sleeping, avoids that. The policy is read when the library is loaded: it has to be set before torch is
imported, and in a fork server.

`scripts/bench/threads.py` measures what the policy costs and what it gains.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from sft.processors import usable_processors

NUMBER = "OMP_NUM_THREADS"
MOST_THREADS = 1024  # more are a typing error, and a process may not get them
_LIMIT = "OMP_THREAD_LIMIT"
_DYNAMIC = "OMP_DYNAMIC"  # lets the library use fewer threads on a busy machine: other results, and nobody would know
_OWN_NUMBER = (NUMBER, "MKL_NUM_THREADS")  # by which the user may have set it
# PASSIVE alone sleeps at once: training on an idle machine takes 11 % longer, since threads have to wake up each time.
# 1,000 spins are about 65 microseconds on Intel (the default, 300,000, is 20 milliseconds) and cost nothing measurable.
# They hold for GNU's OpenMP only, and win over PASSIVE there; the OpenMP of LLVM and Intel follow PASSIVE.
POLICY: Mapping[str, str] = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
# Any of them says how threads wait, in GNU's, LLVM's or Intel's OpenMP.
_OWN_POLICY = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


def default_threads(at_a_time: int = 1, environment: Mapping[str, str] = os.environ) -> int:
    """Return how many threads an experiment uses where nothing else says so.

    The number that the user has set in the environment, else the usable processors divided among the experiments.

    Args:
        at_a_time: experiments that run at the same time.
        environment: the variables.
    """
    own = [number for name in _OWN_NUMBER if (number := _number(environment.get(name)))]
    return own[0] if own else max(1, _processors(environment) // at_a_time)


def too_many(threads: int, at_a_time: int, environment: Mapping[str, str] = os.environ) -> int | None:
    """Return the usable processors where experiments at the same time use more threads than that; else None."""
    processors = _processors(environment)
    return processors if at_a_time > 0 and threads * at_a_time > processors else None


def thread_variables(threads: int | None, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that a process which computes is started with, on top of the environment.

    Args:
        threads: how many; None: as many as the environment says.
        environment: the variables that it inherits: a policy that the user has set stays.
    """
    variables = {} if any(name in environment for name in _OWN_POLICY) else dict(POLICY)
    if threads is not None:
        variables[NUMBER] = str(threads)
        if _DYNAMIC in environment:
            variables[_DYNAMIC] = "FALSE"
    return variables


def set_wait_policy() -> None:
    """Set in this process how threads wait. To be called before anything heavy is imported."""
    os.environ.update(thread_variables(None))


def use_threads(threads: int | None) -> None:
    """Have this process compute with so many threads, whatever was set when the libraries were loaded. Imports torch.

    Args:
        threads: how many; None: the default of an experiment that runs alone.
    """
    number = threads or default_threads()
    os.environ.update(thread_variables(number))
    import torch

    torch.set_num_threads(number)


def _processors(environment: Mapping[str, str]) -> int:
    limit = _number(environment.get(_LIMIT))
    return min(usable_processors(), limit) if limit else usable_processors()


def _number(text: str | None) -> int | None:
    """The number that a variable sets; of a list (`4,2`: for nested regions) the first; None where it sets none."""
    first = (text or "").split(",")[0].strip()
    return int(first) if first.isascii() and first.isdecimal() and int(first) > 0 else None
