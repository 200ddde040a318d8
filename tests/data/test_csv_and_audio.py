"""Tables of text and recordings as data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from normdiag.data import DataOptions, audio
from normdiag.data.source import open_data
from normdiag.errors import InputError, UsageError
from normdiag.records import Batch, InputSpec

RATE = 800


def only(path: Path | str, inputs: tuple[InputSpec, ...] = (), **options: object) -> Batch:
    """All of the data as one batch."""
    (batch,) = open_data([str(path)], DataOptions(batch_size=1000, **options), inputs)  # type: ignore[arg-type]
    return batch


def spec(*shape: int | None, dtype: str = "float32") -> tuple[InputSpec, ...]:
    return (InputSpec("x", dtype, shape),)


@pytest.mark.parametrize(
    "text", ["1,2.5\n3,4\n", "a,b\n1,2.5\n3,4\n", "a;b\r\n1;2.5\r\n3;4\r\n", 'a\t"b"\n1\t2.5\n3\t4']
)
def test_numbers_with_and_without_a_header(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    batch = only(path, spec(None, 2))
    assert batch.arrays[0].dtype == np.float32 and batch.arrays[0].tolist() == [[1, 2.5], [3, 4]]
    assert batch.labels is None


def test_labels_and_the_index_of_pandas_are_no_features(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("\ufeff,a,label,b\n0,0.5,3,1e-2\n1,0.25,1,2\n")
    batch = only(path)
    np.testing.assert_allclose(batch.arrays[0], [[0.5, 0.01], [0.25, 2]])
    assert batch.labels is not None and batch.labels.tolist() == [3, 1]
    path.write_text("a,target\n1,0.5\n2,0.25\n")
    assert only(path).labels is None


def test_integers_for_a_model_that_takes_integers(tmp_path: Path) -> None:
    path = tmp_path / "ids.csv"
    path.write_text("5,7\n8,9\n")
    assert only(path, spec(None, 2, dtype="int64")).arrays[0].dtype == np.int64


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,cat\n", "cat"),
        ("1,2\n3\n", "x.csv"),
        ("a,b\n", "no lines"),
        ("1,\n2,3\n", "x.csv"),
        ("y\n1\n", "labels"),
    ],
)
def test_what_is_no_table_of_numbers_is_one_clear_line(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        only(path)
    assert "\n" not in str(caught.value)


def recording(folder: Path, frames: int, channels: int = 1, name: str = "a.wav") -> np.ndarray:
    """Written as 32-bit floats, which lose nothing."""
    sound = np.random.default_rng(frames).uniform(-1, 1, (frames, channels)).astype(np.float32)
    folder.mkdir(exist_ok=True)
    subtype = "FLOAT" if name.endswith(".wav") else None
    soundfile.write(folder / name, sound, RATE, subtype=subtype)
    return sound


def test_windows_of_the_length_that_the_model_declares(tmp_path: Path) -> None:
    sound = recording(tmp_path, 25)
    np.testing.assert_array_equal(only(tmp_path / "a.wav", spec(None, 10)).arrays[0], sound[:20, 0].reshape(2, 10))
    assert only(tmp_path / "a.wav", spec(None, 1, 10)).arrays[0].shape == (2, 1, 10)
    assert only(tmp_path / "a.wav", spec(None, 10, 1)).arrays[0].shape == (2, 10, 1)
    stereo = recording(tmp_path, 20, 2)
    two = only(tmp_path / "a.wav", spec(None, 2, 10)).arrays[0]
    np.testing.assert_array_equal(two[1], stereo[10:].T)
    np.testing.assert_allclose(only(tmp_path / "a.wav", spec(None, 10)).arrays[0][1], stereo[10:].mean(1), rtol=1e-6)


def test_a_second_or_the_length_that_the_user_gives_and_short_ones_filled_up(tmp_path: Path) -> None:
    recording(tmp_path, 2 * RATE + 5)
    source = open_data([str(tmp_path / "a.wav")])
    assert source.info.total == 2 and any(f"{RATE} frames (1 s) at {RATE} Hz" in note for note in source.info.notes)
    assert only(tmp_path / "a.wav", input_shapes=("1,100",)).arrays[0].shape == (16, 1, 100)
    sound = recording(tmp_path, 7)
    padded = only(tmp_path / "a.wav", spec(None, 10)).arrays[0]
    np.testing.assert_array_equal(padded, np.append(sound[:, 0], np.zeros(3, np.float32))[None])


def test_a_folder_and_a_glob_of_recordings(tmp_path: Path) -> None:
    recording(tmp_path / "a", 20, name="10.flac")
    recording(tmp_path / "a", 10, name="2.flac")
    for given in (tmp_path / "a", f"{tmp_path}/a/*.flac"):
        source = open_data([str(given)], DataOptions(shuffled=True), spec(None, 10))
        assert source.info.total == 3 and next(iter(source)).arrays[0].shape == (3, 10)
    (tmp_path / "a" / "x.wav").write_bytes(b"no sound")
    with pytest.raises(InputError, match=r"x\.wav cannot be read"):
        open_data([str(tmp_path / "a")], None, spec(None, 10))


def test_without_soundfile_the_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording(tmp_path, 20)
    monkeypatch.setattr(audio, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"normdiag\[audio\]"):
        open_data([str(tmp_path / "a.wav")])
