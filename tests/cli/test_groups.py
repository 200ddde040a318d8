"""Options declared once: typer sees them one by one, and the command gets them as one parameter."""

from __future__ import annotations

from inspect import signature

import pytest

from normdiag.cli.groups import FeedingOptions, ReadingOptions, flat
from normdiag.data import DataOptions
from normdiag.errors import UsageError


def test_a_group_becomes_its_options_and_comes_back_as_one_parameter() -> None:
    seen: list[object] = []

    def command(model: str, reading: ReadingOptions, *, quiet: bool = False) -> None:
        seen.extend((model, reading, quiet))

    spelled_out = flat(command)
    assert list(signature(spelled_out).parameters) == ["model", "arch", "arch_arg", "key", "trust", "provider", "quiet"]
    spelled_out(model="net.pt", arch="net.py:Net", arch_arg=None, key=None, trust=True, provider=None, quiet=False)
    assert seen == ["net.pt", ReadingOptions(arch="net.py:Net", trust=True), False]


def test_the_default_batch_size_is_the_command_s_and_sizes_are_read() -> None:
    given = FeedingOptions(resize="256", crop="224x192", in_order=True)
    assert given.options(8) == DataOptions(batch_size=8, resize=256, crop=(224, 192), shuffled=False)
    assert FeedingOptions(batch_size=3).options(8).batch_size == 3
    with pytest.raises(UsageError, match="--resize big"):
        FeedingOptions(resize="big").options(8)


def test_what_does_nothing_without_data_is_named_as_it_was_written() -> None:
    with pytest.raises(UsageError, match="--rgb does nothing"):
        FeedingOptions(grayscale=False).refuse_without_data({})
    with pytest.raises(UsageError, match="--attribute does nothing"):
        FeedingOptions().refuse_without_data({"--attribute": True})
    FeedingOptions(seed=1).refuse_without_data({}, but=("--seed",))


def test_what_is_no_sample_reaches_the_options() -> None:
    given = FeedingOptions(const=["sr=16000"], state=["hn=h"], input_axis=["x=1"]).options(32)
    assert (given.constants, given.states, given.input_axes) == (("sr=16000",), ("hn=h",), ("x=1",))
    with pytest.raises(UsageError, match="--const does nothing without --data"):
        FeedingOptions(const=["sr=16000"]).refuse_without_data({})
    assert ReadingOptions(provider="cuda").options().provider == "cuda"
