"""`allow-modules` in the user's own configuration, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from normdiag.cli.groups import ReadingOptions
from normdiag.errors import UsageError


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "normdiag").mkdir()
    return tmp_path / "normdiag" / "config.toml"


def test_modules_are_allowed_by_name(own: Path) -> None:
    assert ReadingOptions().options().allow_modules == ()
    own.write_text('allow-modules = ["mine.nets"]\n')
    assert ReadingOptions().options().allow_modules == ("mine.nets",)


@pytest.mark.parametrize("value", ['"mine"', "[3]", '["mine/nets"]', '[""]', '["a b"]'])
def test_what_is_no_module_is_a_usage_error(value: str, own: Path) -> None:
    own.write_text(f"allow-modules = {value}\n")
    with pytest.raises(UsageError, match="allow-modules"):
        ReadingOptions().options()
