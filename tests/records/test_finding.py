"""A finding of several layers, and what is left of it without some."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from normdiag.records import Finding

NAMES = st.lists(st.text(max_size=8), unique=True, max_size=6).map(tuple)


def finding(*layers: str, **details: str) -> Finding:
    return Finding("ND106", "x", "info", "high", layers, "gamma is near zero", "Cut.", details=details)


def test_the_message_begins_with_the_layers() -> None:
    assert finding("a", "b", b="3 of 16").message == "a, b (3 of 16): gamma is near zero"
    assert finding(*"abcde").message == "a, b, c and 2 more: gamma is near zero"
    assert finding().message == "gamma is near zero"


def test_layers_that_are_taken_out_are_no_longer_spoken_of() -> None:
    left = finding("a", "b", a="1 of 16", b="3 of 16").only(lambda name: name != "a")
    assert left is not None and (left.layer, left.message) == ("b", "b (3 of 16): gamma is near zero")
    assert finding("a").only(lambda name: name != "a") is None


def test_a_finding_of_the_whole_model_has_no_layer_to_take_out() -> None:
    assert finding().layer is None and finding().only(lambda name: False) == finding()


@given(NAMES, st.sets(st.text(max_size=8)))
def test_what_is_kept_and_what_is_not_are_all(names: tuple[str, ...], known: set[str]) -> None:
    parts = [finding(*names).only(known.__contains__), finding(*names).only(lambda name: name not in known)]
    if names:
        assert sorted(layer for part in parts if part for layer in part.layers) == sorted(names)
        assert all(part is None or part.layer == part.layers[0] for part in parts)
