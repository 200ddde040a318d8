"""Whose configuration is read, from how far up, and whether its code is run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from normdiag.commands.check import Checking, check
from normdiag.config import Config, read_config, read_config_file
from normdiag.config.data import DataSettings
from normdiag.config.own import own_config_path
from normdiag.errors import UsageError

CODE = '[models."*"]\ndata = "evil.py:batches"\n'


@pytest.fixture
def cloned(tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of somebody else's, with a model and a configuration that names code beside it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))
    folder = tmp_path / "cloned"
    (folder / ".git").mkdir(parents=True)
    (folder / "net.onnx").write_bytes((samples / "digits_cnn.onnx").read_bytes())
    batches = "def batches():\n    yield np.zeros((8, 1, 8, 8), np.float32)\n"
    (folder / "evil.py").write_text(
        f"import numpy as np\nfrom pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n{batches}"
    )
    (folder / "normdiag.toml").write_text(CODE)
    monkeypatch.chdir(folder)
    return folder


def ran(cloned: Path) -> bool:
    return (cloned.parent / "ran").exists()


def error_of(config: Config) -> str | None:
    (model,) = check(["net.onnx"], Checking(config)).models
    return model.error


@pytest.mark.parametrize(
    "spec", ["evil.py:batches", "x=evil.py:batches", "evil:batches", "x=evil:batches", "./evil.py:batches"]
)
def test_code_in_a_configuration_is_not_run(cloned: Path, spec: str) -> None:
    (cloned / "normdiag.toml").write_text(f'[models."*"]\ndata = "{spec}"\n')
    error = error_of(read_config(cloned))
    assert error is not None and "--allow-config-code" in error and "--no-config" in error and not ran(cloned)


def test_it_is_run_where_that_is_allowed(cloned: Path) -> None:
    assert error_of(read_config(cloned, allow_code=True)) is None and ran(cloned)


def test_a_file_that_is_named_is_not_allowed_to_either(cloned: Path) -> None:
    assert error_of(read_config_file(cloned / "normdiag.toml")) is not None and not ran(cloned)
    assert error_of(read_config_file(cloned / "normdiag.toml", allow_code=True)) is None


def test_users_allow_folders_in_their_own_configuration(cloned: Path) -> None:
    path = own_config_path()
    assert path is not None
    path.parent.mkdir(parents=True)
    path.write_text(f'allow-config-code = ["{cloned.parent / "other"}"]\n')
    assert error_of(read_config(cloned)) is not None and not ran(cloned)
    path.write_text(f'allow-config-code = ["{cloned}"]\n')
    assert error_of(read_config(cloned)) is None and ran(cloned)


def test_no_file_in_the_tree_can_allow_it(cloned: Path) -> None:
    (cloned / "normdiag.toml").write_text(f"allow-config-code = true\n{CODE}")
    with pytest.raises(UsageError, match="unknown key 'allow-config-code'"):
        read_config(cloned)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("allow-config-code = true", "must be a list of folders"),
        ('allow-config-code = ["here"]', "not absolute"),
        ("select = []", "unknown key 'select'"),
        ("a = [", "no valid TOML"),
    ],
)
def test_what_cannot_stand_in_the_own_configuration(cloned: Path, text: str, message: str) -> None:
    path = own_config_path()
    assert path is not None
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_config(cloned)


def test_data_that_a_flag_names_may_be_code(cloned: Path) -> None:
    flags = DataSettings(data=("evil.py:batches",))
    assert flags.over(read_config(cloned).data_for("net.onnx")).options().allow_code


def test_the_search_ends_at_the_root_of_the_repository(cloned: Path) -> None:
    (cloned / "normdiag.toml").unlink()
    (cloned / "sub").mkdir()
    (cloned.parent / "normdiag.toml").write_text('fail-on = "never"\n')
    assert read_config(cloned / "sub").source is None
    (cloned / ".git").rmdir()
    assert read_config(cloned / "sub").fail_on == "never"


def test_the_search_ends_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / "project").mkdir(parents=True)
    (tmp_path / "normdiag.toml").write_text('fail-on = "never"\n')
    monkeypatch.setenv("HOME", str(home))
    assert read_config(home / "project").source is None
    (home / "normdiag.toml").write_text('fail-on = "info"\n')
    assert read_config(home / "project").fail_on == "info"


@pytest.mark.parametrize("name", ["normdiag.toml", "pyproject.toml"])
def test_a_file_of_another_user_is_refused(cloned: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (cloned / "normdiag.toml").unlink()
    (cloned / name).write_text('[tool.normdiag]\nfail-on = "never"\n' if name.startswith("py") else 'fail-on = "never"')
    assert read_config(cloned).fail_on == "never"
    own = (cloned / name).stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    if own == 0:  # root's files are everybody's: give it to somebody else
        os.chown(cloned / name, 12345, -1)
    with pytest.raises(UsageError, match=r"belongs to another user.*--config.*--no-config"):
        read_config(cloned)
    assert read_config_file(cloned / name).fail_on == "never"


def test_a_pyproject_of_another_user_that_says_nothing_to_us_is_passed_over(
    cloned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cloned / "normdiag.toml").unlink()
    (cloned / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert read_config(cloned).source is None
