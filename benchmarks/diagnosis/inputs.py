"""Inputs prepared otherwise than in training, and data of another kind."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np

from benchmarks.diagnosis.case import Case
from benchmarks.diagnosis.samples import Array, Samples
from benchmarks.diagnosis.subjects import Subject, are_tokens

INPUT, DOMAIN = "input_preparation", "domain_shift"


def input_faults(subject: Subject) -> Iterator[Case]:
    """One case for each; the layer that may come first is the first norm."""
    if subject.test.stored.dtype == np.uint8:
        yield from _recipes(subject)
        yield from _pictures(subject)
        if subject.test.labels.ndim == 1:  # else labels would have to move with the pixels
            yield from _moved(subject)
    elif are_tokens(subject.test.stored):
        yield from _words(subject)
    elif subject.test.stored.ndim == 3:
        yield from _sounds(subject)
    else:
        yield from _columns(subject)


def fed(
    subject: Subject, kind: str, strength: str, stored: Array, causes: tuple[str, ...], recipe: str | None = None
) -> Case:
    """The right model on these stored values; an option of `--preprocess` undoes what only `recipe` does wrong."""
    return Case(
        subject,
        kind,
        strength,
        "input",
        causes,
        frozenset(subject.norms[:1]),
        subject.copied,
        Samples(stored, subject.test.labels),
        recipe or subject.recipe,
        pipeline=stored is subject.test.stored,
    )


def _recipes(subject: Subject) -> Iterator[Case]:
    """The option is wrong, the file is right."""
    stored, colour = subject.test.stored, subject.test.stored.ndim == 4
    usual = "mean=0.485:0.456:0.406,std=0.229:0.224:0.225" if colour else "mean=0.1307,std=0.3081"
    wrong = {
        "0..255": "raw",
        "0..1": "unit",
        "-1..1": "signed",
        "mean and deviation of ImageNet": "imagenet" if colour else "mean=0.449,std=0.226",
        "mean and deviation of 0.5 and 0.2": "mean=0.5,std=0.2",
        "mean subtracted, not divided": "mean=0.485:0.456:0.406" if colour else "mean=0.1307",
        "normalized, not divided by 255": f"scale=1,{usual}",
        "divided by 255 twice": "scale=1/65025",
        "inverted": "scale=-1/255,mean=-1",
    }
    for strength, recipe in wrong.items():
        if not np.allclose(subject.x(stored[:20], recipe), subject.x(stored[:20])):
            yield fed(subject, "wrong preprocessing", strength, stored, (INPUT,), recipe)
    if colour:
        bgr = f"{subject.recipe},order=bgr"
        yield fed(subject, "wrong preprocessing", "BGR", stored, (INPUT,), bgr)


def _pictures(subject: Subject) -> Iterator[Case]:
    """The images in the file are other ones."""
    stored = subject.test.stored
    pixels, both = stored.astype(np.float32), (INPUT, DOMAIN)
    rng = np.random.default_rng(0)
    if stored.ndim == 4:
        grey = np.broadcast_to(pixels.mean(3, keepdims=True), pixels.shape)
        yield fed(subject, "grey images", "", _bytes(grey), both)
    size = stored.shape[1]
    for share in (0.75, 0.5, 0.375):
        yield fed(subject, "resized by way of less", f"{share:g}", _resized(stored, round(share * size)), both)
    for factor in (0.6, 0.35, 1.8):
        yield fed(subject, "brightness", f"x {factor:g}", _bytes(pixels * factor), both)
    for factor in (0.4, 2.0):
        changed = (pixels - pixels.mean()) * factor + pixels.mean()
        yield fed(subject, "contrast", f"x {factor:g}", _bytes(changed), both)
    for deviation in (20, 40, 70):
        noisy = pixels + rng.normal(0, deviation, pixels.shape)
        yield fed(subject, "noise", f"{deviation}", _bytes(noisy), (DOMAIN, INPUT))
    for quality in (30, 10, 4):
        yield fed(subject, "JPEG", f"quality {quality}", _jpeg(stored, quality), (DOMAIN, INPUT))


def _moved(subject: Subject) -> Iterator[Case]:
    """The images lie otherwise."""
    stored, both = subject.test.stored, (INPUT, DOMAIN)
    size = stored.shape[1]
    yield fed(subject, "upside down", "", stored[:, ::-1].copy(), both)
    yield fed(subject, "transposed", "", stored.swapaxes(1, 2).copy(), both)
    for zoom in (1.25, 1.5, 2.0):
        yield fed(subject, "enlarged", f"{zoom:g}", _zoomed(stored, zoom), both)
    for share in (0.75, 0.5):
        yield fed(subject, "black borders", f"{share:g}", _bordered(stored, round(share * size)), ("padding", *both))


def _bytes(pixels: Array) -> Array:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _each(stored: Array, change: object) -> Array:
    from PIL import Image

    return np.stack([np.asarray(change(Image.fromarray(each))) for each in stored])  # type: ignore[operator]


def _zoomed(stored: Array, zoom: float) -> Array:
    size = stored.shape[1]
    edge = (size - size / zoom) / 2
    box = (edge, edge, size - edge, size - edge)
    return _each(stored, lambda image: image.resize((size, size), 2, box=box))


def _resized(stored: Array, small: int) -> Array:
    size = stored.shape[1]
    return _each(stored, lambda image: image.resize((small, small), 2).resize((size, size), 2))


def _bordered(stored: Array, small: int) -> Array:
    """Each image smaller, on black."""
    edge = (stored.shape[1] - small) // 2
    canvas = np.zeros_like(stored)
    inside = slice(edge, edge + small)
    canvas[:, inside, inside] = _each(stored, lambda image: image.resize((small, small), 2))
    return canvas


def _jpeg(stored: Array, quality: int) -> Array:
    from PIL import Image

    def through(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer)

    return _each(stored, through)


def _sounds(subject: Subject) -> Iterator[Case]:
    wave, both = subject.test.stored, (INPUT, DOMAIN)
    for factor in (0.1, 8.0, 32768.0):
        yield fed(subject, "loudness", f"x {factor:g}", wave * np.float32(factor), both)
    for shift in (0.2, 1.0):
        yield fed(subject, "offset", f"{shift:g}", wave + np.float32(shift), both)
    unit = (wave - wave.mean(2, keepdims=True)) / wave.std(2, keepdims=True)
    yield fed(subject, "each sample standardized", "", unit, both)
    for step in (2, 3):
        slow = np.repeat(wave, step, axis=2)[:, :, : wave.shape[2]]
        yield fed(subject, "another sample rate", f"1/{step}", slow, both)
    yield fed(subject, "another sample rate", "x 2", np.concatenate([wave[:, :, ::2]] * 2, 2), both)
    if wave.shape[1] > 1:
        yield fed(subject, "channels in another order", "", wave[:, ::-1].copy(), both)
    rng = np.random.default_rng(0)
    for deviation in (0.3, 0.6):
        noise = rng.normal(0, deviation, wave.shape).astype(np.float32)
        yield fed(subject, "noise", f"{deviation:g}", wave + noise, (DOMAIN, INPUT))
    for share in (0.5, 0.75):
        padded = wave.copy()
        padded[:, :, round(len(wave[0, 0]) * (1 - share)) :] = 0.0
        yield fed(subject, "padded with silence", f"{100 * share:g} %", padded, ("padding", INPUT, DOMAIN))


def _columns(subject: Subject) -> Iterator[Case]:
    table, both = subject.test.stored, (INPUT, DOMAIN)
    rng = np.random.default_rng(0)
    for factor in (0.2, 4.0, 50.0):
        yield fed(subject, "columns not brought to scale", f"x {factor:g}", table * np.float32(factor), both)
    for shift in (1.0, 3.0):
        yield fed(subject, "mean not subtracted", f"{shift:g}", table + np.float32(shift), both)
    for count in (1, 3):
        other = table.copy()
        other[:, :count] *= 30
        yield fed(subject, "columns in other units", f"{count}", other, both)
    for share in (0.25, 1.0):
        order = np.arange(table.shape[1])
        chosen = rng.permutation(len(order))[: max(2, round(share * len(order)))]
        order[chosen] = np.roll(chosen, 1)
        yield fed(subject, "columns in another order", f"{100 * share:g} %", table[:, order], both)
    for share, value in ((0.1, -9.0), (0.3, 0.0), (0.3, -9.0)):
        holes = np.where(rng.random(table.shape) < share, np.float32(value), table)
        yield fed(subject, "missing values", f"{100 * share:g} % as {value:g}", holes, (DOMAIN, INPUT))
    for deviation in (0.5, 1.0):
        noise = rng.normal(0, deviation, table.shape).astype(np.float32)
        yield fed(subject, "noise", f"{deviation:g}", table + noise, (DOMAIN, INPUT))


def _words(subject: Subject) -> Iterator[Case]:
    """Texts whose words are numbered, ordered or filled up otherwise; 0 pads and 1 is an unknown word."""
    text, both = subject.test.stored, (INPUT, DOMAIN)
    rng = np.random.default_rng(0)
    count = int(text.max()) + 1
    for step in (1, 2):
        yield fed(subject, "words counted from another start", f"+{step}", (text + step) % count, both)
    for share in (0.1, 0.3, 1.0):
        chosen = rng.permutation(np.arange(2, count))[: round(share * (count - 2))]
        order = np.arange(count)
        order[chosen] = np.roll(chosen, 1)
        yield fed(subject, "another vocabulary", f"{100 * share:g} %", order[text], both)
    for share in (0.1, 0.3, 0.6):
        unknown = np.where((rng.random(text.shape) < share) & (text > 1), 1, text)
        yield fed(subject, "unknown words", f"{100 * share:g} %", unknown, (DOMAIN, INPUT))
    for share in (0.5, 0.75):
        short = np.where(np.arange(text.shape[1]) < (1 - share) * text.shape[1], text, 0)
        yield fed(subject, "cut and padded", f"{100 * share:g} %", short, ("padding", *both))
    yield fed(subject, "read backwards", "", text[:, ::-1].copy(), both)
