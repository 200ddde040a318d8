from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.graph.importers.onnx.names import SCOPES, unique
from tests.graph.importers.onnx.site_checks import load_model
from tests.nets.onnx.text import from_text


def names(
    folder: Path, nodes: list[tuple[str, str]], scopes: list[str] | None = None, parameter: str = "s"
) -> list[str]:
    """Names of a chain of (op, node name)."""
    model = from_text("g (float[2,4] x) => (float[2,4] y) { y = Identity(x) }")
    del model.graph.node[:]
    tensor = "x"
    for i, (op, name) in enumerate(nodes):
        node = model.graph.node.add(op_type=op, name=name, output=[f"t{i}"])
        node.input.extend([tensor] if op != "BatchNormalization" else [tensor, *(f"{parameter}{p}" for p in PARTS)])
        if scopes:
            node.metadata_props.add(key=SCOPES, value=scopes[i])
        tensor = f"t{i}"
    for part in PARTS:
        model.graph.initializer.add(name=f"{parameter}{part}", data_type=1, dims=[4], float_data=[1, 2, 3, 4])
    model.graph.output[0].name = tensor
    program = load_model(folder, model)
    return [s.layer.name for s in program.sites] + [s.name for s in program.activations]


PARTS = (".weight", ".bias", ".running_mean", ".running_var")


@pytest.mark.parametrize(
    ("node", "name"),
    [
        ("/layer1/layer1.0/bn1/BatchNormalization", "layer1.0.bn1"),
        ("/features/features.3/conv/conv.0/conv.0.1/BatchNormalization", "features.3.conv.0.1"),
        ("/bn/BatchNormalization", "bn"),
        ("model/batch_normalization/FusedBatchNormV3", "model/batch_normalization/FusedBatchNormV3"),
        ("my_norm", "my_norm"),
        ("BatchNormalization_12", "deep.bn"),
        ("node_BatchNormalization_12", "deep.bn"),
        ("n4", "deep.bn"),
        ("", "deep.bn"),
    ],
)
def test_norm_names(node: str, name: str, tmp_path: Path) -> None:
    assert names(tmp_path, [("BatchNormalization", node)], parameter="deep.bn") == [name]


def test_no_name_at_all(tmp_path: Path) -> None:
    assert names(tmp_path, [("BatchNormalization", ""), ("Relu", "")], parameter="onnx::Mul_1") == [
        "batch_norm_0",
        "relu_1",
    ]


def test_exporter_metadata_comes_first(tmp_path: Path) -> None:
    scopes = ["['', 'layer1', 'layer1.0', 'layer1.0.bn1', 'batch_norm']", "['', 'layer1', 'layer1.0', 'relu_7']"]
    nodes = [("BatchNormalization", "/other/BatchNormalization"), ("Relu", "n1")]
    assert names(tmp_path, nodes, scopes) == ["layer1.0.bn1", "layer1.0.relu"]


@pytest.mark.parametrize("text", ["", "[", "[1, 2]", "__import__('os').abort()", "[" * 9000, "{'a': 1}", "['only']"])
def test_metadata_that_is_none(text: str, tmp_path: Path) -> None:
    """The text is read as a literal, never evaluated."""
    assert len(names(tmp_path, [("BatchNormalization", "bn")], [text])) == 1


def test_functional_calls_are_named_beside_their_module(tmp_path: Path) -> None:
    nodes = [("BatchNormalization", "/block/bn/BatchNormalization"), ("Relu", "/block/Relu"), ("Sigmoid", "/Sigmoid")]
    assert names(tmp_path, nodes) == ["block.bn", "block.relu", "sigmoid"]


def test_a_module_used_twice_gets_two_names(tmp_path: Path) -> None:
    nodes = [("Relu", "/act/Relu"), ("Relu", "/act/Relu"), ("Relu", "/act/Relu")]
    assert names(tmp_path, nodes) == ["act", "act_2", "act_3"]


@given(st.lists(st.sampled_from(["a", "a_2", "a_3", "b", ""])))
def test_unique(given_names: list[str]) -> None:
    result = unique(given_names)
    assert len(set(result)) == len(result) == len(given_names)
    assert all(new.startswith(old) for new, old in zip(result, given_names, strict=True))
    assert unique(result) == result
