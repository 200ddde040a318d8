"""torch.export programs are rebuilt from their JSON: the same numbers, and nothing else than listed operators."""

from __future__ import annotations

import json
import os
import pickle
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import normdiag
from normdiag.errors import InputError
from normdiag.models import LoadOptions, load

RAN = "NORMDIAG_TEST_RAN"
Edit = Callable[[dict[str, Any]], None]


class Structured(nn.Module):
    """Constants, a buffer that is not saved, sizes that are computed, and outputs in a structure."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)
        self.register_buffer("scale", torch.rand(1, 8, 1, 1), persistent=False)
        self.shift = torch.ones(8)

    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        y = torch.relu(self.norm(self.conv(x))) * self.scale
        first, second = y.chunk(2, 1)
        z = torch.cat([second, first], 1).mean((2, 3)) + self.shift + torch.tensor([1.0] * 8)
        return {"logits": self.head(z), "rest": (z, z.view(z.shape[0] * 2, -1))}


@pytest.fixture(autouse=True)
def nothing_ran(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv(RAN, raising=False)
    monkeypatch.setattr(torch.export, "load", lambda *_: pytest.fail("torch.export.load was called"))
    yield
    assert RAN not in os.environ


def exported(folder: Path, module: nn.Module, *, free: bool = True, train: bool = False) -> Path:
    torch.manual_seed(0)
    shapes = ({0: torch.export.Dim.AUTO},) if free else None
    program = torch.export.export(module.train(train), (torch.randn(2, 3, 8, 8),), dynamic_shapes=shapes)
    torch.export.save(program, folder / "model.pt2")
    return folder / "model.pt2"


def test_the_same_numbers_in_the_same_structure(tmp_path: Path) -> None:
    module = Structured().eval()
    program = load(exported(tmp_path, module), run=True).program
    x = torch.randn(5, 3, 8, 8)
    with torch.no_grad():
        expected, found = module(x), program(x)
    assert list(found) == ["logits", "rest"]
    assert torch.equal(found["logits"], expected["logits"])
    assert isinstance(found["rest"], tuple)
    assert all(torch.equal(*pair) for pair in zip(found["rest"], expected["rest"], strict=True))


def test_the_report_is_that_of_the_trusted_file(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, data = samples / "digits_cnn.pt2", torch.rand(16, 1, 8, 8)
    plain = normdiag.inspect(path, data)
    monkeypatch.undo()
    trusted = normdiag.inspect(path, data, load_options=LoadOptions(trust=True))
    assert [each.layer.name for each in plain.layers] == [each.layer.name for each in trusted.layers]
    for one, two in zip(plain.layers, trusted.layers, strict=True):
        assert one.drift is not None and two.drift is not None
        assert (one.drift.rms, one.drift.se) == (two.drift.rms, two.drift.se)
    assert plain.gap is not None and trusted.gap is not None
    assert plain.gap.output == trusted.gap.output
    assert [each.name for each in plain.activations] == [each.name for each in trusted.activations]


def test_folded_with_nothing_else(samples: Path, tmp_path: Path) -> None:
    result = normdiag.fold(samples / "digits_cnn.pt2", output=tmp_path / "folded.onnx")
    assert result.verification is not None and result.verification.passed
    assert len(result.plan.steps) == 3


def test_a_program_of_a_fixed_number_of_samples(tmp_path: Path) -> None:
    path = exported(tmp_path, Structured().eval(), free=False)
    report = normdiag.inspect(path, torch.randn(9, 3, 8, 8))
    assert report.data is not None and report.data.samples == 8
    assert normdiag.fold(path).verification.passed  # type: ignore[union-attr]


def test_buffers_are_written_where_the_program_writes_them(tmp_path: Path) -> None:
    module = Structured()
    program = load(exported(tmp_path, module, train=True), run=True).program
    x = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        module.train()(x)
        program(x)
    assert torch.equal(program.norm.running_mean, module.norm.running_mean)
    assert int(program.norm.num_batches_tracked) == 1


def edited(path: Path, edit: Edit, members: dict[str, bytes] | None = None) -> Path:
    """The archive with its program edited, and members replaced."""
    target = path.with_name("edited.pt2")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            short = name.partition("/")[2]
            if short == "models/model.json":
                program = json.loads(data)
                edit(program)
                data = json.dumps(program).encode()
            new.writestr(name, (members or {}).get(short, data))
    return target


def nodes(program: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = program["graph_module"]["graph"]["nodes"]
    return found


def retarget(target: str) -> Edit:
    return lambda program: nodes(program)[3].update(target=target)


def first_argument(argument: Any) -> Edit:
    return lambda program: nodes(program)[3]["inputs"][0].update(arg=argument)


def appended(*more: dict[str, Any]) -> Edit:
    return lambda program: nodes(program).extend(more)


def call(target: str, name: str, **arguments: Any) -> dict[str, Any]:
    inputs = [{"name": each, "arg": value, "kind": 1} for each, value in arguments.items()]
    return {"target": target, "inputs": inputs, "outputs": [{"as_tensor": {"name": name}}], "metadata": {}}


def squared(count: int) -> Edit:
    named = [{"as_sym_int": {"as_name": f"n{index}"}} for index in range(count)]
    ints = [call("_operator.mul", f"n{i + 1}", a=named[i], b=named[i]) for i in range(1, count)]
    first = call("_operator.mul", "n1", a={"as_int": 1 << 40}, b={"as_int": 1 << 20})
    return lambda program: nodes(program).extend([first, *ints])


def many(program: dict[str, Any]) -> None:
    nodes(program).extend([{}] * 120_000)


HOSTILE: dict[str, tuple[Edit, str]] = {
    "another namespace": (retarget("torch.ops.mylib.run.default"), r"calls torch\.ops\.mylib\.run\.default"),
    "a file": (retarget("torch.ops.aten.from_file.default"), r"calls torch\.ops\.aten\.from_file"),
    "a function": (retarget("os.system"), r"calls os\.system, which is not among the operators"),
    "eval": (retarget("builtins.eval"), r"calls builtins\.eval"),
    "a higher-order operator": (retarget("torch.ops.higher_order.cond"), "calls torch.ops.higher_order.cond"),
    "an attribute": (retarget("torch.ops.aten.relu.__class__"), "does not have"),
    "import": (retarget("__import__('os').system('true')"), "calls __import__"),
    "a subgraph": (first_argument({"as_graph": {"name": "g", "graph": {}}}), "hands over graph"),
    "an object": (first_argument({"as_custom_obj": {"name": "x", "class_fqn": "os.system"}}), "hands over custom_obj"),
    "two kinds": (first_argument({"as_int": 1, "as_float": 1.0}), "has no kind, or several"),
    "what comes later": (first_argument({"as_tensor": {"name": "nowhere"}}), "uses 'nowhere' before it is there"),
    "a huge number": (first_argument({"as_int": 1 << 80}), "is no int"),
    "a name twice": (appended(call("torch.ops.aten.relu.default", "x", self={"as_tensor": {"name": "x"}})), "twice"),
    "an unknown argument": (
        appended(call("torch.ops.aten.relu.default", "y", os={"as_int": 1})),
        "takes no argument 'os'",
    ),
    "a tensor without end": (
        appended(call("torch.ops.aten.zeros.default", "y", size={"as_ints": [1 << 20, 1 << 20]})),
        "asks for a tensor of more than",
    ),
    "giant graphs": (many, "operations, of which at most"),
    "no nodes": (lambda program: program["graph_module"]["graph"].update(nodes=None), "has no nodes"),
    "no inputs": (lambda program: program["graph_module"]["signature"].update(input_specs=[]), "takes no tensor"),
    "a token": (
        lambda program: program["graph_module"]["signature"]["input_specs"].append({"token": {"arg": {"name": "t"}}}),
        "takes a token",
    ),
    "a foreign weight": (
        lambda program: program["graph_module"]["signature"]["input_specs"][0]["parameter"].update(
            parameter_name="__class__"
        ),
        "does not hold",
    ),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(tmp_path_factory.mktemp("program"), Structured().eval())


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_programs_are_refused(name: str, program: Path, tmp_path: Path) -> None:
    edit, message = HOSTILE[name]
    path = edited(program, edit)
    with pytest.raises(InputError, match=message) as caught:
        normdiag.fold(path, output=tmp_path / "f.onnx")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_sizes_that_grow_without_end_stop(program: Path) -> None:
    path = edited(program, squared(60))
    with pytest.raises(InputError, match=r"a size that no tensor can have|on none of the usual inputs"):
        normdiag.inspect(path, torch.randn(2, 3, 8, 8))


def test_expressions_are_never_evaluated(program: Path) -> None:
    evil = f"__import__('os').environ.__setitem__({RAN!r}, '1')"

    def edit(document: dict[str, Any]) -> None:
        graph = document["graph_module"]["graph"]
        for each in (*graph["tensor_values"].values(), *graph["sym_int_values"].values()):
            for size in (*each.get("sizes", ()), each):
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = evil
        document["range_constraints"] = {evil: {"min_val": 0, "max_val": None}}
        document["guards_code"] = [evil]
        for node in graph["nodes"]:
            node["metadata"] = dict.fromkeys(node["metadata"], evil)

    module = load(edited(program, edit), run=True).program
    assert module(torch.randn(2, 3, 8, 8))["logits"].shape == (2, 5)


class _Call:
    def __reduce__(self) -> Any:
        return exec, (f"import os; os.environ[{RAN!r}] = '1'",)


def test_nested_pickles_are_not_loaded(program: Path) -> None:
    members = {"data/sample_inputs/model.pt": pickle.dumps(_Call()), "data/constants/tensor_9": pickle.dumps(_Call())}
    path = edited(program, lambda _: None, members)
    assert normdiag.inspect(path, torch.randn(4, 3, 8, 8)).data is not None


def test_output_classes_become_dicts(program: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        signature = document["graph_module"]["module_call_graph"][0]["signature"]
        leaf = {"type": None, "context": None, "children_spec": []}
        spec = {"type": "os.system", "context": '["a", "b", "c"]', "children_spec": [leaf, leaf, leaf]}
        signature["out_spec"] = json.dumps([1, spec])

    assert list(load(edited(program, edit), run=True).program(torch.randn(2, 3, 8, 8))) == ["a", "b", "c"]


ODD = (None, True, -1, 1 << 70, "", "x", "__class__", [], {}, [[]], {"as_int": 3}, {"as_tensor": {"name": "x"}})


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from _places(each, (*path, key))


@pytest.mark.parametrize("seed", range(80))
def test_whatever_is_damaged_is_one_line(seed: int, program: Path) -> None:
    rng = random.Random(seed)

    def edit(document: dict[str, Any]) -> None:
        graph_module = document["graph_module"]
        for _ in range(rng.choice((1, 2, 4))):
            *above, last = rng.choice([path for path in _places(graph_module) if path and "metadata" not in path])
            holder: Any = graph_module
            for key in above:
                holder = holder[key]
            holder[last] = rng.choice(ODD)

    try:
        model = load(edited(program, edit), run=True)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert model.program is not None or model.why_not_run
