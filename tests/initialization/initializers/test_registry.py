"""Names of initialisers: ours, PEFT's, the user's, and near misses."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sft.initialization.initializers import maker_of
from sft.plugins import INITIALIZERS, initializer_problem


@pytest.mark.parametrize(
    "init",
    [
        True, False, "gaussian", "orthogonal", "mica", "olora", "loftq", "eva", "corda", "lora_ga", "pca", "umap",
        "umap_fast", "pissa", "pissa_niter_16", "m:f",
    ],
)  # fmt: skip
def test_known(init: bool | str) -> None:
    assert initializer_problem(init) is None


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("pisa", 'did you mean "pissa"'),
        ("kaiming", "also PEFT's own: true, false, gaussian"),
        ("pissa_niter_", "expected an integer after"),
        ("pissa_niter_N", "expected an integer after"),
        ("pissa_niter_1.5", "expected an integer after"),
    ],
)
def test_refused(init: str, message: str) -> None:
    assert message in str(initializer_problem(init))


def test_the_maker_of_each_name() -> None:
    assert maker_of(True) == maker_of("gaussian") == maker_of("orthogonal") == "peft"
    assert maker_of("pissa_niter_16") == maker_of("olora") == maker_of("orthogonal", quantised=True) == "copy"
    assert maker_of("eva") == maker_of("corda") == "data"
    assert maker_of("umap") == maker_of("pissa") == maker_of("m:f") == "registry"


def test_every_entry_is_callable() -> None:
    assert list(INITIALIZERS) == ["pca", "pissa", "umap", "umap_fast"]
    assert all(callable(INITIALIZERS.resolve(name)) for name in INITIALIZERS)


def test_asking_for_names_imports_no_torch() -> None:
    code = (
        "import sys; from sft.plugins import initializer_problem as p; p('x');"
        "sys.exit('torch' in sys.modules or 'peft' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
