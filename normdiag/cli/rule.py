"""`normdiag rule`: what a finding means and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from normdiag.cli import check_options as opt
from normdiag.cli import options
from normdiag.cli.output import is_ascii_only, print_out, terminal_width, wants_color, write_file
from normdiag.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from normdiag.rules import Rule


def rule(
    name: opt.RuleName = None,
    all_rules: opt.AllRules = False,
    format_: opt.RuleOut = opt.RuleFormat.text,
    output: opt.Folder = None,
    color: options.Color = None,
) -> None:
    """Pick, render, print."""
    from normdiag.rules import RULES
    from normdiag.rules.choose import matching

    if name is not None and all_rules:
        raise UsageError("give a rule or --all, not both")
    if output is not None:
        if format_ is not opt.RuleFormat.markdown or not all_rules:
            raise UsageError("-o writes a page for each rule: it goes with --all --format markdown")
        _write_pages(output, RULES)
        return
    chosen = matching(name, RULES) if name is not None else RULES
    print_out(_render(chosen, format_, in_full=len(chosen) == 1 or all_rules, color=wants_color(color)))


def _render(rules: Sequence[Rule], format_: opt.RuleFormat, *, in_full: bool, color: bool) -> str:
    from normdiag.render import rule_pages
    from normdiag.render.text import render_text
    from normdiag.report.rules import list_document, rules_document

    if format_ is opt.RuleFormat.json:
        return rule_pages.render_json(rules)
    if format_ is opt.RuleFormat.markdown:
        return rule_pages.render_markdown(rules)
    document = rules_document(rules) if in_full else list_document(rules)
    return render_text(document, width=terminal_width(), color=color, ascii_only=is_ascii_only())


def _write_pages(folder: Path, rules: Sequence[Rule]) -> None:
    from normdiag.render.rule_pages import pages

    if not folder.is_dir():
        raise InputError(f"-o {folder}: there is no such folder")
    for name, text in pages(rules).items():
        write_file(folder / name, text)
