"""Reading `[tool.regcheck]`."""

from pathlib import Path

import pytest

from regcheck.config.load import load
from regcheck.config.options import Options
from regcheck.core.errors import UsageError
from regcheck.core.finding import Severity


def written(folder: Path, text: str, name: str = "pyproject.toml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_every_key_of_the_contract_is_read(tmp_path: Path) -> None:
    """Each key of `[tool.regcheck]` reaches the option of the same name, with its type."""
    written(
        tmp_path,
        """
        [tool.regcheck]
        select = ["REG2"]
        ignore = ["REG203"]
        extend-select = ["REG301"]
        fail-on = "error"
        exclude = ["build"]
        models = ["net.py:Net"]
        devices = ["cpu"]
        require-reason = true
        per-file-ignores = { "tests/*" = ["REG201"] }
        per-module-ignores = { "prenet.*" = "REG202" }
        """,
    )
    assert load(tmp_path) == Options(
        select=("REG2",),
        ignore=("REG203",),
        extend_select=("REG301",),
        fail_on=Severity.ERROR,
        exclude=("build",),
        models=("net.py:Net",),
        devices=("cpu",),
        require_reason=True,
        per_file_ignores={"tests/*": ("REG201",)},
        per_module_ignores={"prenet.*": ("REG202",)},
    )


def test_the_nearest_file_with_a_table_counts(tmp_path: Path) -> None:
    """A `pyproject.toml` without the table does not hide the one above it."""
    written(tmp_path, "[tool.regcheck]\nseed = 7\n")
    inner = tmp_path / "package" / "inner"
    inner.mkdir(parents=True)
    written(inner, "[project]\nname = 'inner'\n")
    assert load(inner).seed == 7


@pytest.mark.parametrize("name", ["regcheck.toml", ".regcheck.toml"])
def test_a_file_of_its_own_comes_before_the_project_s(tmp_path: Path, name: str) -> None:
    """All of a `regcheck.toml` is about regcheck, without a table, and it hides the `pyproject.toml` beside it."""
    written(tmp_path, "[tool.regcheck]\nseed = 7\nstrict = true\n")
    written(tmp_path, "seed = 8\n", name)
    assert load(tmp_path) == Options(seed=8)
    written(tmp_path, "sede = 8\n", name)
    with pytest.raises(UsageError, match=rf"{name}: unknown option 'sede' \(did you mean 'seed'"):
        load(tmp_path)


def test_a_configuration_extends_another(tmp_path: Path) -> None:
    """A key of the file itself hides that of the extended one, whose baseline lies beside it."""
    (tmp_path / "team").mkdir()
    base = "[tool.regcheck]\nseed = 7\nfail_on = 'error'\nbaseline = 'known.json'\n"
    written(tmp_path / "team", base)
    written(tmp_path, "extend = 'team/pyproject.toml'\nfail-on = 'info'\n", "regcheck.toml")
    known = str(tmp_path / "team" / "known.json")
    assert load(tmp_path) == Options(seed=7, fail_on=Severity.INFO, baseline=known)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("extend = 'other.toml'", "other.toml: cannot be read: No such file"),
        ("extend = 7", "regcheck.toml: option 'extend' takes a path, not 7"),
        ("extend = 'regcheck.toml'", "the files extend each other"),
        ("extend = 'pyproject.toml'", "has no .tool.regcheck. table"),
    ],
)
def test_what_cannot_be_extended_is_said(tmp_path: Path, text: str, says: str) -> None:
    """A configuration that extends nothing, itself, or what is none of ours is an error that names the file."""
    written(tmp_path, "[project]\nname = 'p'\n")
    written(tmp_path, text, "regcheck.toml")
    with pytest.raises(UsageError, match=says):
        load(tmp_path)


def test_without_configuration_there_are_the_defaults(tmp_path: Path) -> None:
    """No file is needed."""
    written(tmp_path, "[project]\nname = 'plain'\n")
    (tmp_path / "pyproject.toml").unlink()
    assert load(tmp_path) == Options()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[tool.regcheck]\nselcet = []\n", "unknown option 'selcet' (did you mean 'select'?)"),
        ("[tool.regcheck]\nfail_onn = 'error'\n", "did you mean 'fail-on'?"),
        ("[tool.regcheck]\nfail-on = 'eror'\n", "unknown severity 'eror' (did you mean 'error'?)"),
        ("[tool.regcheck]\nselect = 3\n", "option 'select' takes a list of strings, not 3"),
        ("[tool.regcheck]\nseed = 'x'\n", "option 'seed' takes a number"),
        ("[tool.regcheck]\nrequire-reason = 'yes'\n", "takes true or false"),
        ("[tool.regcheck]\nper-file-ignores = ['REG101']\n", "takes a table of lists"),
        ("[tool.regcheck]\nseed = \n", "at line 2"),
        ("[tool]\nregcheck = 3\n", "must be a table, not 3"),
    ],
)
def test_a_mistake_is_named_with_its_file(tmp_path: Path, text: str, says: str) -> None:
    """A wrong key, value or syntax is an error that begins with the file and names what is meant, or the line."""
    file = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load(tmp_path)
    assert str(caught.value).startswith(f"{file}: ")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("absent.toml", None, "cannot be read: No such file or directory"),
        ("empty.toml", b"", "has no [tool.regcheck] table"),
        ("latin.toml", b"# \xe9\n", "is not UTF-8"),
    ],
)
def test_a_file_that_was_asked_for_must_be_one(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    """`--config FILE` never falls back to another file or to the defaults."""
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load(tmp_path, file)
    assert str(caught.value) == f"{file}: {says}"
