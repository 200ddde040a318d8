"""Models larger than memory: weights stay in their files, the numbers are those of the plain run."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import normdiag
from normdiag.errors import InputError, UsageError
from normdiag.models import LoadOptions, fits_memory, load
from normdiag.models.options import Stream, streaming_where_needed
from normdiag.models.pytorch import streamed
from normdiag.render.json import to_json
from normdiag.render.profile_json import profile_to_json

HAS_ACCELERATE = importlib.util.find_spec("accelerate") is not None
needs_accelerate = pytest.mark.skipif(not HAS_ACCELERATE, reason="accelerate is not installed")
TOKENS = np.random.default_rng(0).integers(0, 50, (12, 7))
NET = """
import torch
from torch import nn

class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.variance_epsilon = 1e-5
        self.weight = nn.Parameter(torch.ones(16))

    def forward(self, x):
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)

class PlainRMSNorm(Scale):
    pass

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = PlainRMSNorm()
        self.up, self.act, self.down = nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)

    def forward(self, x):
        # One is called, the weight of the other is read by its parent.
        return x + nn.functional.linear(self.act(self.up(self.norm(x))), self.down.weight, self.down.bias)

class Net(nn.Module):
    _no_split_modules = ["Block"]

    def __init__(self, tied=False):
        super().__init__()
        self.tokens = nn.Embedding(50, 16)
        self.blocks = nn.ModuleList([Block() for _ in range(3)])
        self.between = nn.BatchNorm1d(16)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 50, bias=False)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, tokens):
        x = self.tokens(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(self.between(x.transpose(1, 2)).transpose(1, 2)))[:, 0]
"""


def options(folder: Path, stream: Stream, *arguments: str, tell: Callable[[str], None] | None = None) -> LoadOptions:
    return LoadOptions(arch=f"{folder}/net.py:Net", arch_args=arguments, stream=stream, tell=tell)


def saved(folder: Path, tied: bool = False) -> Path:
    """Weights of a Net whose norms are not at their beginnings."""
    (folder / "net.py").write_text(NET)
    spec = importlib.util.spec_from_file_location("net_for_streaming", folder / "net.py")
    assert spec is not None and spec.loader is not None
    code = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(code)
    torch.manual_seed(1)
    module = code.Net(tied)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point() and value.dim() == 1:
                value.uniform_(0.5, 1.5)
            elif "head" in name and not tied:
                value.mul_(3)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    if tied:
        del state["head.weight"]
    save_file(state, folder / "net.safetensors")
    return folder / "net.safetensors"


def numbers(report: Any) -> dict[str, Any]:
    """All that a report says, but for its notes and what its graph shows, which a streamed model has not."""
    document: dict[str, Any] = to_json(report)
    for layer in document["layers"]:
        del layer["role"]
    return {
        name: value
        for name, value in document.items()
        if name in ("layers", "activations", "gap", "gradient", "recalibration", "measured", "verdict")
    }


@needs_accelerate
def test_a_streamed_model_shows_the_same(tmp_path: Path) -> None:
    """Bit for bit: pass E, pass B in the BatchNorm, and the recalibrated one that its drift asks for."""
    path, told = saved(tmp_path), list[str]()
    plain = normdiag.inspect(path, TOKENS, load_options=options(tmp_path, "never"))
    found = normdiag.inspect(path, TOKENS, load_options=options(tmp_path, "always", tell=told.append))
    assert plain.gap is not None and plain.recalibration is not None
    assert numbers(found) == numbers(plain)
    assert told == [f"{path}: {found.model.notes[-1]}"] and "each forward reads all of them once" in told[0]
    assert any("ND2xx" in note and "streamed" in note for note in found.notes)
    for one, other in zip(plain.layers, found.layers, strict=True):
        assert one.layer.gamma is not None and other.layer.gamma is not None
        assert np.array_equal(one.layer.gamma, other.layer.gamma)


@needs_accelerate
def test_norms_in_half_precision_are_simulated_without_a_plan(tmp_path: Path) -> None:
    path = saved(tmp_path)
    found = normdiag.inspect(path, TOKENS, load_options=options(tmp_path, "always"), target="fp16")
    assert found.half is not None and found.half.plan is None
    assert "its weights are streamed" in str(found.half.why_no_plan)
    plain = normdiag.inspect(path, TOKENS, load_options=options(tmp_path, "never"), target="fp16")
    assert plain.half is not None and repr(plain.half.norms) == repr(found.half.norms)


@needs_accelerate
def test_weights_are_there_only_while_they_are_used(tmp_path: Path) -> None:
    model = load(saved(tmp_path), options(tmp_path, "always"), run=True)
    assert model.streamed
    resident = {name for name, value in model.program.named_parameters() if not value.is_meta}
    assert resident == {"between.weight", "between.bias", "norm.weight", "norm.bias"}
    seen: dict[str, set[str]] = {}
    block = model.program.blocks[1]
    block.act.register_forward_hook(
        lambda *_: seen.update(now={n for n, v in model.program.named_parameters() if not v.is_meta} - resident)
    )
    with torch.no_grad():
        model.program(torch.from_numpy(TOKENS))
    assert seen["now"] == {f"blocks.1.{name}" for name, _ in block.named_parameters()}
    assert {name for name, value in model.program.named_parameters() if not value.is_meta} == resident


@needs_accelerate
def test_profiles_too(tmp_path: Path) -> None:
    path = saved(tmp_path)
    plain, found = (
        normdiag.profile(path, TOKENS, load_options=options(tmp_path, stream)) for stream in ("never", "always")
    )
    assert plain.points.keys() == found.points.keys() and len(plain.points) > 5
    assert profile_to_json(plain)["points"] == profile_to_json(found)["points"]


@needs_accelerate
@pytest.mark.parametrize("free", [None, 10**12, 10_000])
def test_auto_streams_where_memory_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int | None) -> None:
    path = saved(tmp_path)
    monkeypatch.setattr(fits_memory, "free_memory", lambda: free)
    report = normdiag.inspect(path, TOKENS, load_options=LoadOptions(arch=f"{tmp_path}/net.py:Net"))
    notes = [note for note in report.model.notes if "streamed" in note]
    assert bool(notes) == (free == 10_000)
    if notes:
        assert "GB of memory as float32, and 1e-05 GB are free" in notes[0]


@needs_accelerate
def test_what_changes_weights_never_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path)
    monkeypatch.setattr(fits_memory, "free_memory", lambda: 1)
    loading = LoadOptions(arch=f"{tmp_path}/net.py:Net")
    assert not load(path, loading, run=True).streamed and load(path, streaming_where_needed(loading), run=True).streamed


@needs_accelerate
def test_it_runs_on_the_cpu_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"runs on the CPU here|is not available"):
        normdiag.inspect(saved(tmp_path), TOKENS, load_options=options(tmp_path, "always"), device="cuda")


@needs_accelerate
def test_a_live_module_that_accelerate_has_spread_out(tmp_path: Path) -> None:
    """Offloaded by the user's own device_map: measured alike, whatever is not in memory."""
    from accelerate import cpu_offload

    model = load(saved(tmp_path), options(tmp_path, "never"), run=True)
    plain = normdiag.inspect(model.program, TOKENS)
    spread = cpu_offload(model.program, torch.device("cpu"), preload_module_classes=["Block"])
    found = normdiag.inspect(spread, TOKENS)
    layers, expected = numbers(found)["layers"], numbers(plain)["layers"]
    assert [(each["name"], each["input"]) for each in layers] == [(each["name"], each["input"]) for each in expected]


def test_without_accelerate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "find_spec", lambda name: None)
    report = normdiag.inspect(saved(tmp_path), TOKENS, load_options=options(tmp_path, "always"))
    why = (
        "its weights have to be streamed (as asked with --stream always): that needs accelerate, which is not installed"
    )
    assert report.why_not_run == f"{why}: pip install accelerate" and report.verdict == "not_measured"


def test_files_that_cannot_be_streamed(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.ones(3)}, tmp_path / "a.pt")
    with pytest.raises(UsageError, match="--stream is for weights in safetensors files"):
        normdiag.inspect(tmp_path / "a.pt", load_options=LoadOptions(stream="always"))


@needs_accelerate
def test_hugging_face_folders(tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    for name, tied in (("plain", False), ("tied", True)):
        torch.manual_seed(0)
        config = transformers.LlamaConfig(**sizes, vocab_size=50, tie_word_embeddings=tied)
        folder = tmp_path / name
        transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder, max_shard_size="20KB")
        reports = [
            normdiag.inspect(folder, TOKENS, load_options=LoadOptions(stream=stream)) for stream in ("never", "always")
        ]
        assert numbers(reports[0]) == numbers(reports[1]) and len(reports[1].layers) == 5
        assert "streamed" in reports[1].model.notes[-1] and reports[1].why_not_run is None


@needs_accelerate
def test_blocks_that_are_not_named_are_asked_for(tmp_path: Path) -> None:
    path = saved(tmp_path)
    (tmp_path / "net.py").write_text(NET.replace("_no_split_modules", "_blocks"))
    with pytest.raises(InputError, match=r"in blocks\.0: .*list the class .* in _no_split_modules"):
        normdiag.inspect(path, TOKENS, load_options=options(tmp_path, "always"))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads ru_maxrss in kB")
@needs_accelerate
def test_the_peak_is_a_block(tmp_path: Path) -> None:
    """384 MB of weights in 24 blocks: the process grows by far less than it does when all of them are read."""
    (tmp_path / "wide.py").write_text(WIDE)
    blocks = {f"blocks.{i}.{j}.weight": torch.zeros(1024, 2048) for i in range(24) for j in range(2)}
    save_file({**blocks, "norm.weight": torch.ones(2048)}, tmp_path / "wide.safetensors")
    peaks = {}
    for stream in ("always", "never"):
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(tmp_path), stream], check=True, capture_output=True, text=True
        )
        peaks[stream] = int(done.stdout.split()[-1]) >> 10
    whole, block = 24 * 16, 16
    assert peaks["never"] > whole and peaks["always"] < 4 * block, peaks


WIDE = """
from torch import nn

class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.RMSNorm(2048)
        pair = lambda: nn.Sequential(nn.Linear(2048, 1024, bias=False), nn.Linear(2048, 1024, bias=False))
        self.blocks = nn.ModuleList([pair() for _ in range(24)])

    def forward(self, x):
        for first, second in self.blocks:
            x = self.norm(x + first(x).repeat(1, 2) + second(x).repeat(1, 2))
        return x
"""
PEAK = """
import resource, sys
import numpy as np
import torch, accelerate, accelerate.hooks
import normdiag, normdiag.commands.measure, normdiag.observe.pytorch, normdiag.models.pytorch.plain
from normdiag.models import LoadOptions
folder, stream = sys.argv[1:]
x = np.ones((4, 2048), np.float32)
normdiag.inspect(torch.nn.Sequential(torch.nn.RMSNorm(2048), torch.nn.Linear(2048, 8)), x)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
arch = f"{folder}/wide.py:Wide"
normdiag.inspect(f"{folder}/wide.safetensors", x, load_options=LoadOptions(arch=arch, stream=stream))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
