"""What each sample model is, the command that shows it, and how its accuracy is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sample_models import digits, net

Logits = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Sample:
    """One row of the README: a file, its architecture (`arch`, `norm`) if it holds weights alone, what it shows.

    `preprocess` is what the command feeds, `trust` whether only torch's own loaders can run the file, `batch` the
    batch size at which accuracy is measured.
    """

    file: str
    what: str
    shows: str
    arch: str | None = None
    norm: str | None = None
    preprocess: str = "unit"
    trust: bool = False
    batch: int = 32

    @property
    def command(self) -> str:
        """The command line that inspects it, from the root of the repository."""
        words = ["normdiag inspect", f"sample_models/{self.file}", "--data sample_models/digits.npz"]
        if self.arch:
            words.append(f"--arch sample_models/net.py:{self.arch}")
        if self.norm:
            words.append(f"--arch-arg norm={self.norm}")
        if self.preprocess != "unit":
            words.append(f"--preprocess {self.preprocess}")
        if self.trust:
            words.append("--trust")
        if self.batch != 32:
            words.append(f"--batch-size {self.batch}")
        return " ".join(words)


SAMPLES = (
    Sample("digits_cnn.onnx", "CNN with BatchNorm, ONNX", "healthy"),
    Sample("digits_cnn.pt", "the same, state dict", "healthy", "DigitsCNN"),
    Sample("digits_cnn_module.pt", "the same, whole pickled module", "healthy", trust=True),
    Sample("digits_cnn.pt2", "the same, torch.export", "healthy", trust=True),
    Sample("digits_cnn.torchscript.pt", "the same, TorchScript", "healthy", trust=True),
    Sample("digits_cnn.onnx", "the same, fed 0..255", "wrong scaling", preprocess="raw"),
    Sample("digits_cnn.onnx", "the same, fed [-1, 1]", "wrong scaling", preprocess="signed"),
    Sample("digits_cnn_folded.onnx", "the same, exported with torch's defaults", "norms folded away by the exporter"),
    Sample(
        "digits_cnn_folded.onnx",
        "the same, fed 0..255",
        "wrong scaling that nothing in the file can show",
        preprocess="raw",
    ),
    Sample(
        "digits_cnn_averaged.pt",
        "weights averaged over 15 epochs (torch's AveragedModel, update_bn forgotten)",
        "stale statistics",
        "DigitsCNN",
    ),
    Sample(
        "digits_cnn_frozen.pt",
        "fine-tuned on [-1, 1] with BatchNorm in eval mode",
        "drift that the weights have learned to live with",
        "DigitsCNN",
        preprocess="signed",
    ),
    Sample("digits_cnn_foreign.pt", "statistics of another seed's model", "foreign statistics", "DigitsCNN"),
    Sample("digits_cnn_training.onnx", "exported in training mode", "output depends on the batch"),
    Sample("digits_cnn_training.onnx", "the same, one image at a time", "output depends on the batch", batch=1),
    Sample("digits_cnn_group.onnx", "CNN with GroupNorm, ONNX", "healthy"),
    Sample("digits_cnn_group.pt", "the same, state dict", "healthy", "DigitsCNN", "group"),
    Sample("digits_cnn_instance.onnx", "CNN with InstanceNorm, ONNX", "healthy"),
    Sample("digits_cnn_instance.pt", "the same, state dict", "healthy", "DigitsCNN", "instance"),
    Sample(
        "digits_cnn_instance_stats.pt",
        "CNN with InstanceNorm and running statistics",
        "trained with each image's own statistics, deployed with averages of them",
        "DigitsCNN",
        "instance_stats",
    ),
    Sample("digits_transformer_layer.onnx", "transformer with LayerNorm and GELU, ONNX", "healthy"),
    Sample("digits_transformer_layer.pt", "the same, state dict", "healthy", "DigitsTransformer", "layer"),
    Sample("digits_transformer_rms.onnx", "transformer with RMSNorm and GELU, ONNX", "healthy"),
    Sample("digits_transformer_rms.pt", "the same, state dict", "healthy", "DigitsTransformer", "rms"),
    *(
        Sample(f"digits_mlp_{norm}_{step:04d}.pt", f"{title}, step {step}", shows, "DigitsMLP", norm)
        for norm, title, shows in (
            ("none", "MLP of 3 x 100 sigmoids", "saturation"),
            ("batch", "the same with BatchNorm", "healthy"),
        )
        for step in (100, 1000, 5000)
    ),
    Sample("digits_mlp_none.onnx", "MLP of 3 x 100 sigmoids, step 5000, ONNX", "saturation"),
    Sample("digits_mlp_batch.onnx", "the same with BatchNorm", "healthy"),
)


def load(sample: Sample, folder: Path) -> Logits:
    """The function from images (N, 1, 8, 8) to logits (N, 10) that the file holds."""
    path = folder / sample.file
    if sample.arch:
        return load_weights(sample, path)
    if path.suffix == ".onnx":
        return load_onnx(path)
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    if ".torchscript" in path.suffixes:
        return torch.jit.load(str(path))
    return torch.load(path, weights_only=False)


def load_weights(sample: Sample, path: Path) -> nn.Module:
    """The architecture with the state dict of the file, in eval mode."""
    assert sample.arch is not None
    module: nn.Module = getattr(net, sample.arch)(**({"norm": sample.norm} if sample.norm else {}))
    module.load_state_dict(torch.load(path, weights_only=True))
    return module.eval()


def load_onnx(path: Path) -> Logits:
    """An onnxruntime session as a function."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def accuracy(sample: Sample, folder: Path) -> float:
    """Share of the validation images classified right, in percent, fed as the sample's command feeds them."""
    x, y = digits.load(folder / digits.VALIDATION, sample.preprocess)
    model = load(sample, folder)
    with torch.no_grad():
        guesses = torch.cat([model(part).argmax(1) for part in x.split(sample.batch)])
    return 100 * float(np.mean((guesses == y).numpy()))


def saturation(model: net.DigitsMLP, x: Tensor) -> list[tuple[float, float]]:
    """For each hidden layer: the share of sigmoid inputs with |x| > 4, and the mean of the squared derivative."""
    seen: list[tuple[float, float]] = []
    with torch.no_grad():
        for layer in (model.hidden1, model.hidden2, model.hidden3):
            x = layer.norm(layer.linear(x.flatten(1)))
            saturated = (x.abs() > 4).float().mean().item()
            x = torch.sigmoid(x)
            seen.append((saturated, (x * (1 - x)).square().mean().item()))
    return seen
