"""What is said where torch, or what it exports with, is missing, broken or too old."""

from __future__ import annotations

import re
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from normdiag import extras
from normdiag.errors import InputError, UsageError
from normdiag.usercode import load_object

try:
    import tomllib
except ImportError:
    import tomli as tomllib

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def installed(monkeypatch: pytest.MonkeyPatch, torch: str, *, without: str = "") -> None:
    """As if this version of torch were installed, and everything else but the package named."""
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == without else ModuleSpec(name, None))
    monkeypatch.setattr(extras, "import_module", lambda name: SimpleNamespace(__version__=torch))


def test_torch_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "", without="torch")
    for require in (extras.require_torch, extras.require_export, extras.require_onnx_export):
        with pytest.raises(UsageError) as error:
            require("--arch needs")
        assert str(error.value) == '--arch needs torch, which is not installed: pip install "normdiag[torch]"'


@pytest.mark.parametrize(
    ("version", "inspects", "exports"),
    [
        ("2.3.1", False, False),
        ("2.4.0", True, False),
        ("2.5.1+cu124", True, False),
        ("2.6.0a0+git1", True, True),
        ("2.10.0", True, True),
        ("3.0", True, True),
    ],
)
def test_torch_that_is_too_old(monkeypatch: pytest.MonkeyPatch, version: str, inspects: bool, exports: bool) -> None:
    installed(monkeypatch, version)
    for require, fits, wanted in (
        (extras.require_torch, inspects, "2.4"),
        (extras.require_onnx_export, exports, "2.6"),
    ):
        if fits:
            require("folding needs")
        else:
            with pytest.raises(UsageError) as error:
                require("folding needs")
            assert str(error.value) == (
                f'folding needs torch {wanted} or newer, and {version} is installed: pip install -U "torch>={wanted}"'
            )


@pytest.mark.parametrize(("module", "package"), [("onnx_ir", "onnx-ir"), ("onnxscript", "onnxscript")])
def test_what_the_exporter_needs(monkeypatch: pytest.MonkeyPatch, module: str, package: str) -> None:
    installed(monkeypatch, "2.13.0", without=module)
    extras.require_export("folding needs")
    with pytest.raises(UsageError, match=rf'needs {package}, which is not installed: pip install "normdiag\[torch\]"'):
        extras.require_onnx_export("writing needs")


def test_torch_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise OSError("libcudnn.so.9: cannot open\nshared object file")

    monkeypatch.setattr(extras, "import_module", broken)
    with pytest.raises(InputError) as error:
        extras.require_torch("--trust needs")
    assert str(error.value) == (
        "--trust needs torch, and the one installed here cannot be imported: "
        "libcudnn.so.9: cannot open shared object file"
    )


def test_code_of_the_user_that_imports_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)  # as if it were not there
    (tmp_path / "loader.py").write_text("import torch\n")
    with pytest.raises(InputError, match=r'\(loader.py, line 1\); pip install "normdiag\[torch\]" brings it$'):
        load_object(f"{tmp_path}/loader.py:batches", "--data")


def test_the_oldest_versions_are_those_of_the_package() -> None:
    extra = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]["torch"]
    named = dict(re.fullmatch(r"([\w-]+)>=([\d.]+)", line).groups() for line in extra)  # type: ignore[union-attr]
    assert named.keys() == {"torch", "onnx-ir", "onnxscript"}
    assert tuple(map(int, named["torch"].split("."))) == extras.OLDEST <= extras.OLDEST_EXPORT
