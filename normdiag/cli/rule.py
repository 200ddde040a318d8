"""`normdiag rule`: what a finding or a cause means and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from normdiag.cli import check_options as opt
from normdiag.cli import options
from normdiag.cli.output import print_out, write_file
from normdiag.errors import InputError, UsageError
from normdiag.terminal import is_ascii_only, terminal_width, wants_color

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from normdiag.diagnosis import Cause
    from normdiag.records.document import Document


def rule(
    name: opt.RuleName = None,
    all_rules: opt.AllRules = False,
    causes: opt.Causes = False,
    format_: opt.RuleOut = opt.RuleFormat.text,
    output: opt.Folder = None,
    color: options.Color = None,
) -> None:
    """Pick, render, print."""
    from normdiag.diagnosis import CAUSES

    if name is not None and all_rules:
        raise UsageError("give a rule or --all, not both")
    if output is not None and (format_ is not opt.RuleFormat.markdown or not all_rules):
        raise UsageError("-o writes a page for each rule: it goes with --all --format markdown")
    named = [each for each in CAUSES if name is not None and each.name == name.lower()]
    wanted: Sequence[Cause] = named or (CAUSES if causes and name is None else ())
    if wanted:
        _causes(wanted, format_, output, in_full=bool(named) or all_rules, color=wants_color(color))
    else:
        _rules(name, format_, output, all_rules=all_rules, color=wants_color(color))


def _rules(name: str | None, format_: opt.RuleFormat, output: Path | None, *, all_rules: bool, color: bool) -> None:
    from normdiag.render import rule_pages
    from normdiag.report.rules import list_document, rules_document
    from normdiag.rules import RULES
    from normdiag.rules.choose import matching

    chosen = matching(name, RULES) if name is not None else RULES
    in_full = len(chosen) == 1 or all_rules
    if output is not None:
        _write(output, rule_pages.pages(chosen))
    elif format_ is opt.RuleFormat.json:
        print_out(rule_pages.render_json(chosen))
    elif format_ is opt.RuleFormat.markdown:
        print_out(rule_pages.render_markdown(chosen))
    else:
        _print(rules_document(chosen) if in_full else list_document(chosen), color=color)


def _causes(
    chosen: Sequence[Cause], format_: opt.RuleFormat, output: Path | None, *, in_full: bool, color: bool
) -> None:
    from normdiag.render import cause_pages
    from normdiag.report.causes import causes_document, list_document

    if output is not None:
        _write(output, cause_pages.pages(chosen))
    elif format_ is opt.RuleFormat.json:
        print_out(cause_pages.render_json(chosen))
    elif format_ is opt.RuleFormat.markdown:
        print_out(cause_pages.render_markdown(chosen))
    else:
        _print(causes_document(chosen) if in_full else list_document(chosen), color=color)


def _print(document: Document, *, color: bool) -> None:
    from normdiag.render.text import render_text

    print_out(render_text(document, width=terminal_width(), color=color, ascii_only=is_ascii_only()))


def _write(folder: Path, pages: Mapping[str, str]) -> None:
    if not folder.is_dir():
        raise InputError(f"-o {folder}: there is no such folder")
    for name, text in pages.items():
        write_file(folder / name, text)
