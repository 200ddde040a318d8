"""Valid files of every kind that is read, small, to be damaged."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save

from normdiag.profiles import write_profile
from tests.models.static.gguf_files import llama
from tests.models.static.packed import bitsandbytes, gptq, norms, packed_int32
from tests.profiles.profiles import profile

SAMPLES = Path(__file__).resolve().parents[2] / "sample_models"
CONFIG = """
select = ["ND1", "ND2", "ND3"]
ignore = ["ND104"]
fail-on = "warning"
[rules.ND103]
dead_ratio = 0.001
[per-layer-ignores]
"head.*" = ["ND301"]
[models."*.onnx"]
data = "val.npz"
max-samples = 256
"""


@dataclass(frozen=True)
class Seed:
    """A file's content, what may be done to it, and the command that reads it (`{}` is the file)."""

    kind: str
    name: str
    content: bytes
    command: str


def seeds(folder: Path) -> list[Seed]:
    """All of them; the files that commands need beside them are put into the folder."""
    for name in ("digits_cnn.onnx", "digits.npz"):
        shutil.copy(SAMPLES / name, folder / name)
    read = {name: (SAMPLES / name).read_bytes() for name in _MODELS}
    onnx = [name for name in _MODELS if name.endswith(".onnx")]
    torch = [name for name in _MODELS if not name.endswith(".onnx")]
    model = folder / "digits_cnn.onnx"
    data = f"inspect -q {folder}/digits_cnn.onnx --max-samples 16 --data {{}}"
    return [
        *(Seed("onnx", "net.onnx", read[name], "check -q {}") for name in onnx),
        Seed(
            "onnx run",
            "net.onnx",
            read["digits_cnn.onnx"],
            f"inspect -q {{}} --max-samples 8 --data {folder}/digits.npz",
        ),
        Seed("onnx fold", "net.onnx", read["digits_cnn.onnx"], f"fold -q {{}} --force -o {folder}/out.onnx"),
        *(Seed("torch zip", "net.pt", read[name], "check -q {}") for name in torch),
        *(Seed("pickle", "net.pt", read[name], "check -q {}") for name in torch[:2]),
        Seed("pickle", "net.pkl", _bare_pickle(), "check -q {}"),
        Seed("safetensors", "net.safetensors", _safetensors(), "check -q {}"),
        Seed("gguf", "net.gguf", llama(), "check -q {}"),
        Seed("quantized", "net.safetensors", _quantized(), "check -q {}"),
        Seed("profile", "x.profile", _profile(folder), "inspect -q {}"),
        Seed("npy", "x.npy", _npy(), data),
        Seed("npz", "x.npz", _npz(), data),
        Seed("image", "x.png", _image("PNG"), data),
        Seed("image", "x.jpg", _image("JPEG"), data),
        Seed("image", "x.gif", _image("GIF"), data),
        Seed(
            "toml", "normdiag.toml", CONFIG.encode(), f"check -q {folder}/digits_cnn.onnx --show-config --config {{}}"
        ),
        Seed("baseline", "known.json", _baseline(), f"check -q {model} --baseline {{}}"),
    ]


_MODELS = (
    "digits_cnn.onnx",
    "digits_cnn_training.onnx",
    "digits_transformer_rms.onnx",
    "digits_cnn.pt",
    "digits_cnn_module.pt",
    "digits_cnn.pt2",
    "digits_cnn.torchscript.pt",
)


def _bare_pickle() -> bytes:
    state = {f"bn.{name}": np.linspace(0.5, 1.5, 8) for name in ("weight", "bias", "running_mean", "running_var")}
    return pickle.dumps(state, protocol=2)


def _safetensors() -> bytes:
    names = ("weight", "bias", "running_mean", "running_var")
    header = {
        f"bn.{n}": {"dtype": "F32", "shape": [8], "data_offsets": [32 * i, 32 * i + 32]} for i, n in enumerate(names)
    }
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + np.linspace(0.5, 1.5, 32).astype(np.float32).tobytes()


def _quantized() -> bytes:
    """Three layouts in one file: what each is told by is damaged."""
    layouts = (bitsandbytes(), gptq(), packed_int32())
    tensors = {f"{index}.{name}": each for index, layout in enumerate(layouts) for name, each in layout.items()}
    return save({**norms(), **tensors})


def _profile(folder: Path) -> bytes:
    write_profile(profile(), folder / "seed.profile")
    return (folder / "seed.profile").read_bytes()


def _pixels() -> np.ndarray:
    return np.arange(16 * 64, dtype=np.uint8).reshape(16, 1, 8, 8)


def _npy() -> bytes:
    target = io.BytesIO()
    np.save(target, _pixels())
    return target.getvalue()


def _npz() -> bytes:
    target = io.BytesIO()
    np.savez_compressed(target, x=_pixels(), y=np.arange(16))
    return target.getvalue()


def _image(kind: str) -> bytes:
    target = io.BytesIO()
    Image.fromarray(_pixels()[0, 0]).save(target, kind)
    return target.getvalue()


def _baseline() -> bytes:
    return json.dumps(
        {"version": 2, "findings": [{"model": "a.onnx", "rule": "ND101", "layer": "x", "severity": "error"}]}
    ).encode()


def members(content: bytes) -> dict[str, bytes]:
    """The members of a zip archive."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
