"""Small networks on signals and point clouds (N, C, T), tokens (N, T) and tables (N, F). All yield logits (N, K)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Audio(nn.Module):
    """Strided one-dimensional convolutions on waveforms (N, 1, T)."""

    def __init__(self, classes: int = 8) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        inputs = 1
        for width, kernel, stride in ((24, 31, 4), (32, 9, 4), (48, 9, 4), (64, 5, 2)):
            conv = nn.Conv1d(inputs, width, kernel, stride, kernel // 2, bias=False)
            steps += [conv, nn.BatchNorm1d(width), nn.LeakyReLU(0.1)]
            inputs = width
        self.features = nn.Sequential(*steps)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean(2))


class Tabular(nn.Sequential):
    """Linear, BatchNorm, activation, for each width, on (N, features)."""

    def __init__(
        self,
        features: int,
        widths: Sequence[int] = (64, 64, 64, 32),
        classes: int = 5,
        act: Callable[[], nn.Module] = nn.ReLU,
        dropout: float = 0.0,
    ) -> None:
        steps: list[nn.Module] = []
        for width in widths:
            steps += [nn.Linear(features, width), nn.BatchNorm1d(width), act()]
            steps += [nn.Dropout(dropout)] if dropout else []
            features = width
        super().__init__(*steps, nn.Linear(features, classes))


class Short(nn.Sequential):
    """Two norms on waveforms (N, 1, T), with SiLU."""

    def __init__(self, classes: int = 8) -> None:
        super().__init__(
            nn.Conv1d(1, 16, 25, 4, 12, bias=False),
            nn.BatchNorm1d(16),
            nn.SiLU(),
            nn.Conv1d(16, 32, 9, 4, 4, bias=False),
            nn.BatchNorm1d(32),
            nn.SiLU(),
            nn.AdaptiveAvgPool1d(2),
            nn.Flatten(),
            nn.Linear(64, classes),
        )


class Causal(nn.Module):
    """Dilated causal convolutions around shortcuts (a temporal convolutional network, Bai et al. 2018)."""

    def __init__(self, inputs: int = 6, width: int = 24, classes: int = 6) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(inputs)
        self.stem = nn.Conv1d(inputs, width, 1)
        self.convs = nn.ModuleList(nn.Conv1d(width, width, 3, dilation=2**i, bias=False) for i in range(4))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(4))
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(self.norm(x))
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = x + functional.gelu(norm(conv(functional.pad(x, (2 * 2**index, 0)))))
        return self.fc(x[:, :, -8:].mean(2))


class Recurrent(nn.Module):
    """A convolution with BatchNorm, a recurrent layer over its output, and a BatchNorm over its last state."""

    def __init__(self, inputs: int = 6, width: int = 32, classes: int = 6) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Conv1d(inputs, width, 5, 4, 2, bias=False), nn.BatchNorm1d(width), nn.Tanh())
        self.second = nn.Sequential(nn.Conv1d(width, width, 3, 2, 1, bias=False), nn.BatchNorm1d(width), nn.ReLU())
        self.recurrent = nn.GRU(width, width, batch_first=True)
        self.head = nn.Sequential(nn.Linear(width, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.front(x)).transpose(1, 2)
        return self.head(self.recurrent(x)[0][:, -1])


class InputNormed(nn.Sequential):
    """BatchNorm without gamma and beta on the input, LayerNorm and BatchNorm with GELU after it, on (N, F)."""

    def __init__(self, features: int, classes: int) -> None:
        first = [nn.BatchNorm1d(features, affine=False), nn.Linear(features, 64), nn.BatchNorm1d(64), nn.GELU()]
        second = [nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 48), nn.BatchNorm1d(48), nn.GELU()]
        super().__init__(*first, *second, nn.Linear(48, classes))


class Radio(nn.Module):
    """Residual convolutions with Mish on two channels of a signal (N, 2, T)."""

    def __init__(self, width: int = 32, classes: int = 6) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(2, width, 9, 2, 4), nn.BatchNorm1d(width), nn.Mish())
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, width, 5, padding=2, bias=False),
                nn.BatchNorm1d(width),
                nn.Mish(),
                nn.Conv1d(width, width, 5, padding=2, bias=False),
                nn.BatchNorm1d(width),
            )
            for _ in range(3)
        )
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = functional.max_pool1d(functional.mish(x + block(x)), 2)
        return self.fc(x.mean(2))


class RootNormed(nn.Module):
    """RMSNorms around shortcuts and BatchNorms between, on a table (N, F)."""

    def __init__(self, features: int, classes: int, width: int = 48, depth: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(features, width, bias=False), nn.BatchNorm1d(width), nn.SiLU())
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.RMSNorm(width), nn.Linear(width, 72), nn.BatchNorm1d(72), nn.SiLU(), nn.Linear(72, width))
            for _ in range(depth)
        )
        self.norm, self.fc = nn.BatchNorm1d(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.fc(self.norm(x))


class TwiceNormed(nn.Sequential):
    """BatchNorm before each ReLU and another one after it (eps 1e-3, averaged over all batches), on (N, F)."""

    def __init__(self, features: int, classes: int, widths: Sequence[int] = (64, 48, 48)) -> None:
        steps: list[nn.Module] = []
        for width in widths:
            after = nn.BatchNorm1d(width, eps=1e-3, momentum=None)
            steps += [nn.Linear(features, width), nn.BatchNorm1d(width, momentum=0.03), nn.ReLU(), after]
            features = width
        super().__init__(*steps, nn.Linear(features, classes))


class Points(nn.Sequential):
    """Each point by itself, the largest over the points, and a head (PointNet, Qi et al. 2017), on (N, 3, P)."""

    def __init__(self, classes: int = 8, widths: Sequence[int] = (32, 48, 96)) -> None:
        steps: list[nn.Module] = []
        inputs = 3
        for width in widths:
            steps += [nn.Conv1d(inputs, width, 1), nn.BatchNorm1d(width, momentum=0.05), nn.ReLU()]
            inputs = width
        head = [nn.Linear(inputs, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2)]
        super().__init__(*steps, nn.AdaptiveMaxPool1d(1), nn.Flatten(), *head, nn.Linear(64, classes))


class Text(nn.Module):
    """Convolutions of three widths side by side over embeddings, the largest over time (Kim 2014), on (N, T)."""

    def __init__(self, vocabulary: int = 50, width: int = 24, classes: int = 6) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 16)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv1d(16, width, kernel, bias=False), nn.BatchNorm1d(width), nn.ReLU())
            for kernel in (3, 4, 5)
        )
        self.head = nn.Sequential(nn.Linear(3 * width, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x).transpose(1, 2)
        return self.head(torch.cat([branch(x).amax(2) for branch in self.branches], 1))
