"""torch's private names: here in the version that this was last seen to pass with, 2.13.0 (in 2.6 and 2.14 as well)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from normdiag.errors import InputError
from normdiag.models.pytorch import torch_private as private

aten = torch.ops.aten


def test_what_only_exporting_needs_is_there() -> None:
    """A failure here names what torch has renamed; everything else in torch_private fails when it is imported."""
    for module, name in (
        ("torch._subclasses", "FakeTensor"),
        ("torch._guards", "detect_fake_mode"),
        ("torch._export.converter", "TS2EPConverter"),
    ):
        assert private._private(module, name) is not None
    for name in ("tree_map_only", "tree_structure", "tree_unflatten"):
        assert callable(getattr(private.pytree, name))


@pytest.mark.parametrize(("module", "name"), [("torch._guards", "gone_tomorrow"), ("torch._gone_tomorrow", "name")])
def test_what_is_gone_is_named_with_the_version(module: str, name: str) -> None:
    with pytest.raises(InputError) as error:
        private._private(module, name)
    assert str(error.value).startswith(
        f"torch {torch.__version__} no longer has {module}.{name}, which normdiag relies"
    )


def test_what_only_exporting_needs_is_looked_up_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch that has lost it still inspects, and says so when it is asked to export."""
    monkeypatch.delattr("torch._export.converter.TS2EPConverter")
    script = torch.jit.script(nn.ReLU())
    with pytest.raises(InputError, match=r"no longer has torch\._export\.converter\.TS2EPConverter"):
        private.program_of_script(script, (torch.ones(2),))


def test_schemas_and_operators() -> None:
    schema = private.schema_of(aten.add.Tensor)
    assert (schema.name, [each.name for each in schema.arguments]) == ("aten::add", ["self", "other", "alpha"])
    assert private.operators("relu", "no_such_operator") == {aten.relu}


def test_fake_tensors() -> None:
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode() as mode:
        fake = torch.ones(2)
    assert private.is_fake(fake) and private.is_fake(torch.ones(2, device="meta"))
    assert not private.is_fake(torch.ones(2))
    assert private.fake_mode_of([None, fake]) is mode and private.fake_mode_of([None]) is None


def test_erased_nodes() -> None:
    graph = torch.fx.Graph()
    node = graph.placeholder("x")
    assert not private.is_erased(node)
    graph.erase_node(node)
    assert private.is_erased(node)


@pytest.mark.exports
def test_a_script_as_a_program() -> None:
    script: Any = torch.jit.script(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    x = torch.randn(4, 3)
    assert torch.equal(private.program_of_script(script, (x,)).module()(x), script(x))


def test_private_names_are_imported_here_alone() -> None:
    """And onnxscript's in onnxscript_private.py; names that are only text, as in a pickle, are something else."""
    imports = re.compile(r"^\s*(?:from|import) (?:torch|onnxscript)\b(?:\S*\._|\S* import _|\S* import .*, _)", re.M)
    package = Path(private.__file__).parents[2]
    guilty = [path.name for path in package.rglob("*.py") if imports.search(path.read_text(encoding="utf-8"))]
    assert sorted(guilty) == ["onnxscript_private.py", "torch_private.py"]
