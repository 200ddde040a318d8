"""Configuration: from files, flags over files, what is refused, and what --show-config prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normdiag.config import (
    Config,
    DataSettings,
    Settings,
    merge,
    parse,
    read_config,
    read_config_file,
    to_dict,
    to_toml,
)
from normdiag.config.data import from_folder
from normdiag.data import DataOptions
from normdiag.errors import UsageError
from normdiag.records import Finding
from normdiag.rules import RULES

FULL = """
select = ["ND1", "ND3"]
extend-select = ["saturated"]
ignore = ["ND104"]
fail-on = "warning"
require-data = true
target = "fp16"

[rules.ND103]
dead_ratio = 0.5

[per-file-ignores]
"legacy/*" = ["ND1"]

[per-layer-ignores]
"head.*" = ["ND301"]

[models."cls*.onnx"]
data = ["a=val.npz", "b=random"]
preprocess = "imagenet"
batch-size = 8
max-samples = 100
seed = 3
resize = 256
crop = [224, 192]
grayscale = false
serve-batch = 4
input-shape = "b=3,4"
const = ["sr=16000"]
state = "hn=h"

[models."*"]
data = "other.npz"
"""


NO_SAMPLES: dict[str, Any] = {"constants": ("sr=16000",), "states": ("hn=h",)}


def read(folder: Path, text: str, name: str = "normdiag.toml") -> Config:
    (folder / name).write_text(text, encoding="utf-8")
    return read_config(folder)


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    return read(tmp_path, FULL)


def found(rule: str, layer: str | None) -> Finding:
    return Finding(rule, "x", "error", "high", () if layer is None else (layer,), "m", "r")


def test_without_a_file_all_rules_run_with_their_own_limits(tmp_path: Path) -> None:
    config = Config()
    assert config.rules() == RULES and config.rules_for("a.onnx") == RULES
    assert config.fail_on == "error" and config.target is None
    assert config.data_for("a.onnx").options() == DataOptions() and config.data_for("a.onnx").data is None
    assert config.kept([found("ND101", "bn1")])


def test_rules(full: Config) -> None:
    ids = [rule.id for rule in full.rules()]
    assert ids == [
        r.id for r in RULES if (r.id.startswith(("ND1", "ND3")) and r.id != "ND104") or r.name == "saturated"
    ]
    assert next(rule for rule in full.rules() if rule.id == "ND103").limits["dead_ratio"] == 0.5
    assert (full.fail_on, full.target, full.source) == ("warning", "fp16", "normdiag.toml")
    assert full.require_data and not Config().require_data


def test_per_file_ignores(full: Config) -> None:
    assert not any(rule.id.startswith("ND1") for rule in full.rules_for("legacy/net.onnx"))
    assert full.rules_for("new/net.onnx") == full.rules()


def test_per_layer_ignores(full: Config) -> None:
    assert not full.kept([found("ND301", "head.bn")])
    assert full.kept([found("ND101", "head.bn")])
    assert full.kept([found("ND301", "body.bn")])
    assert full.kept([found("ND301", None)])


def test_an_ignored_layer_is_taken_out_of_a_finding_of_several(full: Config) -> None:
    shared = replace(found("ND301", None), layers=("body.bn", "head.bn", "tail.bn"))
    (left,) = full.kept([shared])
    assert left.layers == ("body.bn", "tail.bn") and left.message == "body.bn, tail.bn: m"
    assert full.kept([replace(shared, layers=("head.a", "head.b"))]) == ()


@pytest.mark.parametrize(
    ("glob", "layer", "fits"),
    [
        ("blocks[0].bn", "blocks[0].bn", True),
        ("blocks[0].bn", "blocks0.bn", True),
        ("blocks[0].bn", "blocks[1].bn", False),
        ("blocks[[]0[]].*", "blocks[0].bn", True),
        ("a*?", "a*?", True),
    ],
)
def test_a_name_that_looks_like_a_glob_is_itself(glob: str, layer: str, fits: bool) -> None:
    config = Config(per_layer_ignores={glob: ("ND3",)})
    assert (config.kept([found("ND301", layer)]) == ()) is fits
    assert config.kept([found("ND101", layer)])


def test_data_of_the_first_pattern_that_fits(full: Config) -> None:
    settings = full.data_for("models/cls_3.onnx")
    assert settings.data == ("a=val.npz", "b=random")
    assert settings.options() == DataOptions(
        "imagenet", 8, 100, 3, 256, (224, 192), False, None, ("b=3,4",), allow_code=False, **NO_SAMPLES
    )
    assert full.data_for("det.onnx") == DataSettings(data=("other.npz",), allow_code=False)


@pytest.mark.parametrize(
    ("glob", "path", "fits"),
    [
        ("*.onnx", "a/b/net.onnx", True),
        ("net.onnx", "a/b/net.onnx", True),
        ("a/*", "a/b/net.onnx", True),
        ("b/*", "a/b/net.onnx", False),
        ("**/b/*", "b/net.onnx", True),
        ("**/b/*", "a/b/net.onnx", True),
        ("*.pt", "net.onnx", False),
        ("net[0].onnx", "a/net[0].onnx", True),
    ],
)
def test_globs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, glob: str, path: str, fits: bool) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config(per_file_ignores={glob: ("ND",)}, folder=tmp_path)
    assert (config.rules_for(path) == ()) == fits
    assert (config.rules_for(str(tmp_path / path)) == ()) == fits


def test_patterns_and_data_are_relative_to_the_file_not_to_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "normdiag.toml").write_text(FULL, encoding="utf-8")
    monkeypatch.chdir(tmp_path / "sub")
    config = read_config(Path.cwd())
    assert config.source == str(Path("..", "normdiag.toml"))
    assert not any(rule.id.startswith("ND1") for rule in config.rules_for("../legacy/net.onnx"))
    assert config.data_for("cls.onnx").data == (f"a={Path('..', 'val.npz')}", "b=random")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("val.npz", "../val.npz"),
        ("x=val.npz", "x=../val.npz"),
        ("odd-name=val.npz", "../odd-name=val.npz"),
        ("loader.py:batches", "../loader.py:batches"),
        ("images/**/*.png", "../images/**/*.png"),
        ("/data/val.npz", "/data/val.npz"),
        ("random", "random"),
        ("x=random", "x=random"),
        ("package.module:batches", "package.module:batches"),
        ("x=package.module:batches", "x=package.module:batches"),
    ],
)
def test_data_specifications(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, expected: str) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    seen = from_folder(spec, tmp_path)
    assert seen == expected or Path(seen) == Path(expected)


def test_the_nearest_file_counts_and_normdiag_toml_goes_before_pyproject(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.normdiag]\nfail-on = "warning"\n')
    (tmp_path / "a" / "pyproject.toml").write_text("[tool.other]\nx = 1\n")
    assert read_config(tmp_path / "a" / "b").fail_on == "warning"
    (tmp_path / "normdiag.toml").write_text('fail-on = "info"\n')
    assert read_config(tmp_path / "a" / "b").fail_on == "info"
    (tmp_path / "a" / "pyproject.toml").write_text('[tool.normdiag]\nfail-on = "never"\n')
    assert read_config(tmp_path / "a" / "b").fail_on == "never"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("selct = []", "normdiag.toml: unknown key 'selct'; did you mean 'select'"),
        ("[models.x]\ndate = 'x'", "unknown key 'date' in models.\"x\"; did you mean 'data'"),
        ("select = 'ND1'", "select must be a list of strings"),
        ("select = [1]", "select must be a list of strings"),
        ("ignore = ['ND9']", "no rule is called 'ND9'"),
        ("fail-on = 'eror'", "fail-on must be one of error, warning, info, never, not 'eror'; did you mean 'error'"),
        ("fail-on = 3", "fail-on must be one of"),
        ("target = 'fp8'", "target must be one of"),
        ("rules = 3", "rules must be a table"),
        ("[rules]\nND103 = 3", "rules.ND103 must be a table"),
        ("[rules.ND13]\nx = 1", "no rule ND13; did you mean 'ND103'"),
        ("[rules.ND103]\ndead = 1", "no limit 'dead'"),
        ("[rules.ND103]\ndead_ratio = '1'", "must be a number"),
        ("[per-file-ignores]\nx = ['ND9']", "no rule is called"),
        ("[per-layer-ignores]\nx = 'ND1'", "must be a list"),
        ("[models.x]\ndata = 3", "must be a list"),
        ("[models.x]\nbatch-size = 0", "--batch-size must be at least 1"),
        ("[models.x]\nseed = -1", "whole number"),
        ("[models.x]\nseed = true", "whole number"),
        ("[models.x]\ncrop = [1, 2, 3]", "whole number"),
        ("[models.x]\ngrayscale = 1", "true or false"),
        ("[models.x]\nserve-batch = 0", "at least 1"),
        ("[models.x]\npreprocess = 1", "must be a string"),
        ("select = [", "no valid TOML"),
        ("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "no valid TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        read(tmp_path, text)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_pyproject_that_is_odd(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be a table"):
        read(tmp_path, "[tool]\nnormdiag = 3", "pyproject.toml")
    (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="no valid TOML"):
        read_config(tmp_path)


def test_flags_go_over_the_file(full: Config) -> None:
    flags = Settings(fail_on="never", target="bf16", data=DataSettings(data=("x.npz",), batch_size=2))
    config = merge(full, flags)
    assert (config.fail_on, config.target) == ("never", "bf16")
    assert config.rules() == full.rules()
    assert config.data_for("cls.onnx") == DataSettings(
        ("x.npz",), "imagenet", 2, 100, 3, 256, (224, 192), False, ("b=3,4",), 4, **NO_SAMPLES
    )


def test_a_configuration_that_chooses_no_rule_is_refused(tmp_path: Path) -> None:
    (tmp_path / "normdiag.toml").write_text("select = []")
    with pytest.raises(UsageError, match="no rule is chosen"):
        read_config(tmp_path).rules()


def test_selecting_anew_forgets_what_was_ignored(full: Config) -> None:
    assert [r.id for r in merge(full, Settings(select=("ND104",))).rules()] == ["ND104"]
    assert "ND104" not in [r.id for r in merge(full, Settings(extend_select=("ND4",))).rules()]
    assert "ND402" in [r.id for r in merge(full, Settings(extend_select=("ND4",))).rules()]
    assert "ND104" in [r.id for r in merge(full, Settings(ignore=("ND101",))).rules()]


def test_limits_are_merged_limit_by_limit() -> None:
    config = merge(Config(limits={"ND302": {"disagreement": 0.2}}), Settings(limits={"ND302": {"relative_rms": 0.9}}))
    assert config.limits == {"ND302": {"disagreement": 0.2, "relative_rms": 0.9}}


def effect(config: Config) -> object:
    paths = ("legacy/x.onnx", "cls1.onnx", "det.onnx")
    return [
        (config.fail_on, config.target),
        [(rule.id, dict(rule.limits)) for rule in config.rules()],
        [([rule.id for rule in config.rules_for(path)], config.data_for(path)) for path in paths],
        [config.kept([found(rule.id, "head.bn")]) for rule in RULES],
    ]


def test_show_config_prints_a_file_of_the_same_effect(full: Config, tmp_path: Path) -> None:
    for config in (
        Config(folder=tmp_path),
        full,
        merge(full, Settings(data=DataSettings(max_samples=7), select=("ND",))),
    ):
        again = read(tmp_path, to_toml(config))
        assert effect(again) == effect(config)
        assert effect(merge(Config(folder=tmp_path), parse(to_dict(config), tmp_path))) == effect(config)


def test_what_is_shown_in_a_folder_below_has_the_same_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Globs are relative to the file's folder, and data that a flag names to the current one."""
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    config = read(tmp_path, '[per-file-ignores]\n"sub/*" = ["ND1"]\n[models."a.onnx"]\ndata = "x=val/a.npz"\n')
    config = merge(config, Settings(data=DataSettings(data=("b.npz", "random", f"{tmp_path}/c.npz"))))
    shown = to_toml(config)
    assert shown.startswith('# read from "') and 'paths are relative to ".."\n' in shown
    table = to_dict(config)
    assert table["models"]["*"]["data"] == ["sub/b.npz", "random", f"{tmp_path}/c.npz"]
    again = read(tmp_path, shown)
    assert again.data_for("net.onnx") == replace(config.data_for("net.onnx"), allow_code=False)
    assert again.rules_for("net.onnx") == config.rules_for("net.onnx") != config.rules_for("../net.onnx")
    (only,) = to_dict(read(tmp_path, '[models."a.onnx"]\ndata = "x=val/a.npz"'))["models"].values()
    assert only == {"data": ["x=val/a.npz"]}


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.just(("ND101",)), max_size=4))
def test_any_pattern_survives_toml(patterns: dict[str, tuple[str, ...]]) -> None:
    toml = pytest.importorskip("tomllib")
    shown = toml.loads(to_toml(Config(per_layer_ignores=patterns)))
    assert shown.get("per-layer-ignores", {}) == {key: list(value) for key, value in patterns.items()}


def test_a_file_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "strict.toml").write_text('select = ["ND3"]\n[per-file-ignores]\n"a/*" = ["ND3"]')
    (tmp_path / "pyproject.toml").write_text('[tool.normdiag]\nselect = ["ND1"]')
    own = read_config_file(tmp_path / "strict.toml")
    assert (own.select, own.folder, own.source) == (("ND3",), tmp_path, str(tmp_path / "strict.toml"))
    assert own.rules_for(str(tmp_path / "a" / "net.onnx")) == ()
    assert read_config_file(tmp_path / "pyproject.toml").select == ("ND1",)


def test_a_named_pyproject_without_the_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"')
    with pytest.raises(UsageError, match=r"has no \[tool.normdiag\]"):
        read_config_file(tmp_path / "pyproject.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        read_config_file(tmp_path / "absent.toml")


def test_the_heading_of_a_pyproject_in_another_file(tmp_path: Path) -> None:
    for name in ("x.toml", "normdiag.toml"):
        (tmp_path / name).write_text('[tool.normdiag]\ntarget = "int8"\n')
        with pytest.raises(UsageError, match=rf"{name}: \[tool.normdiag\] is a heading for pyproject.toml"):
            read_config_file(tmp_path / name)
    with pytest.raises(UsageError, match="is a heading for"):
        read_config(tmp_path)


def test_a_pyproject_whose_tool_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("tool = 5")
    with pytest.raises(UsageError, match=r"pyproject.toml: \[tool\] must be a table"):
        read_config(tmp_path)


def test_preprocessing_that_is_none_is_refused_where_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"normdiag.toml: .*'imgnet' is not understood"):
        read(tmp_path, '[models."*"]\npreprocess = "imgnet"')
