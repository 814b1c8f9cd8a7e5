"""Names of initialisers: ours, PEFT's, the user's, and near misses."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sft.initialization.initializers import initializer_problem, initializer_registry, own_initializer


@pytest.mark.parametrize(
    "init", [True, False, "gaussian", "orthogonal", "pca", "umap", "pissa", "pissa_niter_16", "m:f"]
)
def test_known(init: bool | str) -> None:
    assert initializer_problem(init) is None


@pytest.mark.parametrize(
    ("init", "said"),
    [
        ("pisa", 'did you mean "pissa"'),
        ("kaiming", "also PEFT's own: true, false, gaussian"),
        ("olora", "rewrites the base"),
        ("eva", "data"),
        ("loftq", "rewrites"),
    ],
)
def test_refused(init: str, said: str) -> None:
    assert said in str(initializer_problem(init))


def test_whose_it_is() -> None:
    assert own_initializer(True) is None and own_initializer("gaussian") is None
    assert own_initializer("pissa_niter_16") == "pissa"
    assert own_initializer("umap") == "umap"


def test_every_entry_is_callable() -> None:
    assert list(initializer_registry) == ["pca", "pissa", "umap"]
    assert all(callable(initializer_registry[name]) for name in initializer_registry)


def test_asking_for_names_imports_no_torch() -> None:
    code = (
        "import sys; from sft.initialization.initializers import initializer_problem as p; p('x');"
        "sys.exit('torch' in sys.modules or 'peft' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
