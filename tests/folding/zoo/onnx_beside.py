"""ONNX: norms beside convolutions of the same tensor, as RepVGG, MobileOne and FastViT have them."""

from __future__ import annotations

from collections.abc import Sequence

from tests.folding.zoo.case import Zoo
from tests.nets.onnx.net import OnnxNet

ZOO = Zoo()
SAME = [1, 1, 1, 1]
STAYS = {"folded": 0, "refused": ("also used by",)}


def block(
    g: OnnxNet, kernel: int | Sequence[int] = 3, groups: int = 1, channels: int = 4, **attributes: object
) -> None:
    """Relu, then a convolution and a norm of what that gives, added."""
    x = g.op("Relu", g.input("N", channels, 7, 6))
    conv = g.conv(x, channels, channels, kernel, groups=groups, bias=False, **attributes)
    g.output(g.op("Relu", g.op("Add", conv, g.bn(x, channels))))


@ZOO.case("Relu Conv Conv Add Relu", folded=3)
def repvgg(g: OnnxNet) -> None:
    x = g.op("Relu", g.input("N", 4, 7, 6))
    dense, point = (g.bn(g.conv(x, 4, 4, k, bias=False, pads=[k // 2] * 4), 4) for k in (3, 1))
    g.output(g.op("Relu", g.op("Add", g.op("Add", dense, point), g.bn(x, 4))))


@ZOO.case("Relu Conv Conv Add Relu", folded=3)
def mobile_one(g: OnnxNet) -> None:
    """The norm is added first."""
    x = g.op("Relu", g.input("N", 6, 7, 6))
    point = g.bn(g.conv(x, 6, 6, 1, groups=6, bias=False), 6)
    total = g.op("Add", point, g.bn(x, 6))
    wide = g.bn(g.conv(x, 6, 6, 3, groups=6, bias=False, pads=SAME), 6)
    g.output(g.op("Relu", g.op("Add", total, wide)))


@ZOO.case("Relu Conv Add Relu", folded=3)
def fast_vit(g: OnnxNet) -> None:
    """x + mixer(x) - norm(x), where the mixer has a norm of x beside its convolution too."""
    x = g.op("Relu", g.input("N", 6, 7, 6))
    mixer = g.op("Add", g.bn(x, 6), g.bn(g.conv(x, 6, 6, 3, groups=6, bias=False, pads=SAME), 6))
    g.output(g.op("Relu", g.op("Add", x, g.op("Sub", mixer, g.bn(x, 6)))))


@ZOO.case("Relu Conv Relu", folded=2)
def two_norms_and_a_convolution(g: OnnxNet) -> None:
    x = g.op("Relu", g.input("N", 4, 7, 6))
    norms = g.op("Add", g.bn(x, 4), g.bn(x, 4))
    g.output(g.op("Relu", g.op("Add", norms, g.conv(x, 4, 4, 3, pads=SAME))))


@ZOO.each("auto_pad", ["SAME_UPPER", "SAME_LOWER"], "Relu Conv Relu", folded=1)
def padded_by_itself(g: OnnxNet, mode: str) -> None:
    block(g, (3, 4), auto_pad=mode)


@ZOO.case("Relu Conv Conv Sum Relu", folded=1)
def a_sum_of_three(g: OnnxNet) -> None:
    x = g.op("Relu", g.input("N", 4, 7, 6))
    g.output(g.op("Relu", g.op("Sum", g.conv(x, 4, 4, 1), g.bn(x, 4), g.conv(x, 4, 4, 3, pads=SAME))))


@ZOO.case("Relu Conv", folded=1)
def the_sum_is_the_output(g: OnnxNet) -> None:
    x = g.op("Relu", g.input("N", 4, 7, 6))
    g.output(g.op("Add", g.bn(x, 4), g.conv(x, 4, 4, 3, pads=SAME)))


@ZOO.case("Conv Identity Relu", folded=1)
def of_the_input(g: OnnxNet) -> None:
    x = g.input("N", 4, 7, 6)
    g.output(g.op("Relu", g.op("Add", g.bn(x, 4), g.op("Identity", g.conv(x, 4, 4, 3, pads=SAME)))))


@ZOO.case("Relu Identity Conv Relu|Relu Conv Relu|Identity Relu Conv Relu", folded=1)
def identities_between(g: OnnxNet) -> None:
    x = g.op("Relu", g.input("N", 4, 7, 6))
    norm = g.op("Identity", g.bn(g.op("Identity", x), 4))
    g.output(g.op("Relu", g.op("Add", g.conv(x, 4, 4, 3, pads=SAME), norm)))


@ZOO.case("Relu Conv Relu", folded=2)
def a_norm_after_the_sum(g: OnnxNet) -> None:
    x = g.op("Relu", g.input("N", 4, 7, 6))
    total = g.op("Add", g.conv(x, 4, 4, 3, pads=SAME), g.bn(x, 4))
    g.output(g.op("Relu", g.bn(total, 4)))


@ZOO.case("Relu Conv Conv Identity Add Relu Relu", folded=2)
def the_weight_is_shared(g: OnnxNet) -> None:
    x = g.op("Relu", g.input("N", 4, 7, 6))
    weight = g.value(g.normal(4, 4, 3, 3))
    first, second = (g.conv(x, 4, 4, 3, weight=weight, bias=False, pads=SAME) for _ in range(2))
    g.output(g.op("Relu", g.op("Add", g.op("Add", first, g.bn(x, 4)), g.op("Identity", g.bn(second, 4)))))
    g.output(g.op("Relu", x))


ZOO.each("groups", (1, 2, 4), "Relu Conv Relu")(lambda g, n: block(g, groups=n, pads=SAME))
ZOO.each("kernel", (1, 5), "Relu Conv Relu")(lambda g, k: block(g, k, pads=[k // 2] * 4))


@ZOO.case("Relu Conv Relu")
def dilated(g: OnnxNet) -> None:
    block(g, 3, dilations=[2, 1], pads=[2, 1, 2, 1])


@ZOO.case("Relu Conv Relu")
def off_the_centre(g: OnnxNet) -> None:
    """Of an even kernel, and padded on one side: another tap reads the same position."""
    block(g, (2, 3), pads=[1, 0, 0, 2])


@ZOO.case("Relu Conv BatchNormalization Add Relu|Relu BatchNormalization Conv Add Relu", **STAYS)
def between_the_taps(g: OnnxNet) -> None:
    block(g, (2, 3), dilations=[2, 1], pads=[1, 1, 1, 1])


@ZOO.case("Relu BatchNormalization Conv Sub Relu", **STAYS)
def what_is_subtracted_from(g: OnnxNet) -> None:
    """norm - conv: the convolution alone would have the wrong sign."""
    x = g.op("Relu", g.input("N", 4, 7, 6))
    g.output(g.op("Relu", g.op("Sub", g.bn(x, 4), g.conv(x, 4, 4, 3, pads=SAME))))


@ZOO.case("Relu Conv BatchNormalization Add Relu Relu", **STAYS)
def the_convolution_has_another_reader(g: OnnxNet) -> None:
    x = g.op("Relu", g.input("N", 4, 7, 6))
    conv = g.conv(x, 4, 4, 3, pads=SAME)
    g.output(g.op("Relu", g.op("Add", conv, g.bn(x, 4))), g.op("Relu", conv))


@ZOO.case("Relu BatchNormalization Relu Conv Add Relu", folded=0, refused=("nonlinear",))
def a_convolution_of_something_else(g: OnnxNet) -> None:
    x = g.op("Relu", g.input("N", 4, 7, 6))
    y = g.op("Relu", g.bn(x, 4))
    g.output(g.op("Relu", g.op("Add", g.conv(y, 4, 4, 3, pads=SAME), y)))


@ZOO.case("Relu Conv BatchNormalization Add Relu", **STAYS)
def another_size(g: OnnxNet) -> None:
    """One position wide, so that the sum broadcasts it."""
    x = g.op("Relu", g.input("N", 4, 3, 3))
    g.output(g.op("Relu", g.op("Add", g.conv(x, 4, 4, 3), g.bn(x, 4))))
