"""The options of `check` and `rule` that `inspect` does not have, and those that a configuration file may set too."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from normdiag.cli.options import CONFIGURATION, MEASURING, OUTPUT
from normdiag.cli.options import RULES as GATE


class CheckFormat(str, Enum):
    """How a check is written."""

    text = "text"
    json = "json"
    sarif = "sarif"
    junit = "junit"
    github = "github"
    markdown = "markdown"
    html = "html"


class RuleFormat(str, Enum):
    """How the documentation of rules is written."""

    text = "text"
    json = "json"
    markdown = "markdown"


class Severity(str, Enum):
    """From which severity on a finding makes the gate fail."""

    error = "error"
    warning = "warning"
    info = "info"
    never = "never"


class Number(str, Enum):
    """What the model is to run in."""

    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"
    int8 = "int8"


def _rules_that_begin_with(text: str) -> list[tuple[str, str]]:
    """Ids, with the names of the rules, for the shell to complete."""
    from normdiag.rules import RULES

    return [(rule.id, rule.name) for rule in RULES if rule.id.startswith(text)]


Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL...",
        help="Model files, folders of them (.onnx .pt .pth .pt2 .ckpt .safetensors .gguf) and globs.",
        show_default=False,
    ),
]
FailOn = Annotated[
    Severity | None,
    typer.Option(
        metavar="SEVERITY",
        help="Exit 1 on findings of this severity or above: error (the default), warning, info or never.",
        rich_help_panel=GATE,
    ),
]
Select = Annotated[
    list[str] | None,
    typer.Option(metavar="RULES", help="Only these: ids, names or prefixes, as ND1,ND301.", rich_help_panel=GATE),
]
ExtendSelect = Annotated[list[str] | None, typer.Option(metavar="RULES", help="These as well.", rich_help_panel=GATE)]
Ignore = Annotated[list[str] | None, typer.Option(metavar="RULES", help="Not these.", rich_help_panel=GATE)]
Target = Annotated[
    Number | None,
    typer.Option(
        metavar="TYPE",
        help="What the model is to run in: fp32, fp16, bf16 or int8. With data, fp16 and bf16 run it so and name the "
        "norms that must stay in float32.",
        rich_help_panel=GATE,
    ),
]
Baseline = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Known findings, which do not fail the gate.", rich_help_panel=GATE),
]
WriteBaseline = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Write all findings of this run as the baseline.", rich_help_panel=GATE),
]
ShowConfig = Annotated[
    bool,
    typer.Option("--show-config", help="Print what file and flags amount to, and exit.", rich_help_panel=CONFIGURATION),
]

Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        "-j",
        metavar="N",
        min=1,
        help="Models at the same time, a process each.",
        rich_help_panel=MEASURING,
    ),
]
OutFormat = Annotated[
    CheckFormat,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="Of what is printed: text, json, sarif, junit, github, markdown or html.",
        rich_help_panel=OUTPUT,
    ),
]
SarifUri = Annotated[
    str,
    typer.Option(
        metavar="PREFIX",
        show_default=False,
        help="SARIF and annotations: goes before each model's path, where the current folder is not the repository's "
        "root.",
        rich_help_panel=OUTPUT,
    ),
]

RuleName = Annotated[
    str | None,
    typer.Argument(
        metavar="[RULE]",
        help="An id, as ND301, a series, as ND3, a name, or a cause.",
        show_default=False,
        autocompletion=_rules_that_begin_with,
    ),
]
Causes = Annotated[bool, typer.Option("--causes", help="Causes of the diagnosis, in place of rules.")]
AllRules = Annotated[bool, typer.Option("--all", help="Every rule in full.")]
RuleOut = Annotated[RuleFormat, typer.Option("--format", help="How it is written.")]
Folder = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FOLDER", help="With --all --format markdown: a page for each rule."),
]
