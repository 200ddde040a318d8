"""Sizes for what a model leaves free, and options to show that fit its rank and dtype."""

from __future__ import annotations

import pytest

from normdiag.data.noise import random_feed, shape_notes
from normdiag.data.usual_sizes import example_option, usual_inputs_of, usual_shapes
from normdiag.errors import UsageError
from normdiag.records import InputSpec

Shape = tuple[int | None, ...] | None


@pytest.mark.parametrize(
    ("name", "dtype", "shape", "option"),
    [
        ("x", "float32", (None, 3, None, None), "x=3,224,224"),
        ("x", "float32", (None, None, None, None), "x=3,224,224"),
        ("x", "float32", (None, None, None, 3), "x=224,224,3"),
        ("x", "float32", (1, 1, 28, None), "x=1,28,224"),
        ("audio", "float32", (None, None), "audio=16000"),
        ("x", "float32", (None, None), "x=128"),
        ("ids", "int64", (1, None), "ids=128:int64"),
        ("mel", "float16", (None, 80, None), "mel=80,128:float16"),
        ("x", "float32", None, "x=3,224,224"),
        ("ids", "int64", None, "ids=128:int64"),
        ("clip", "float32", (None, 3, None, None, None), "clip=3,16,16,16"),
    ],
)
def test_the_option_shown_fits_rank_and_dtype(name: str, dtype: str, shape: Shape, option: str) -> None:
    spec = InputSpec(name, dtype, shape)
    assert example_option(spec) == f"--input-shape {option}"
    if shape is not None and None in shape[1:]:
        with pytest.raises(UsageError, match=f"--input-shape {option}$"):
            random_feed("random", [spec], (), None, 0)


def test_declared_sizes_are_kept_and_gray_images_are_tried_too() -> None:
    shapes = usual_shapes(InputSpec("x", "float32", (None, None, 32, None)))
    assert (3, 32, 224) in shapes and (1, 32, 28) in shapes and all(shape[1] == 32 for shape in shapes)
    assert usual_shapes(InputSpec("x", "float32", (None, 5))) == [(5,)]


def test_inputs_of_one_kind_get_the_same_sizes() -> None:
    specs = [InputSpec(name, "int64", (1, None)) for name in ("ids", "mask")]
    for ids, mask in usual_inputs_of(specs):
        assert ids.shape == mask.shape and ids.shape is not None and ids.shape[0] == 1


def test_a_shape_with_the_batch_axis_in_it_is_said_to_have_it() -> None:
    declared = [InputSpec("x", "float32", (None, 3, None, None))]
    assert shape_notes(declared, ["1,3,32,32"]) == (
        "--input-shape 1,3,32,32 has the batch axis in it: one sample is 3,32,32",
    )
    assert shape_notes(declared, ["x=3,32,32"]) == () == shape_notes([], ["1,3,32,32"])
