"""The rules of the house that import-linter cannot express. The others are contracts in pyproject.toml."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("flows", "tasks", "gateway", "registry")
MODULES = sorted(path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 320, 70
DECLARATIONS = {"registry/records.py", "flows/cli.py"}
"""Files that hold one long list of declarations and no logic: types, and options of commands."""
READS_ENVIRONMENT = {"flows/settings.py"}
UNSAFE_FORMATS = {"pickle", "cloudpickle", "joblib", "dill", "shelve", "marshal"}
STAGES = (
    "extraction",
    "filtering",
    "curation",
    "training",
    "validation",
    "promotion",
    "reporting",
    "triggers",
    "experiments",
    "sources",
    "screening",
    "verification",
)
WRITTEN = [
    path
    for pattern in ("*.md", "*.toml", "*.yaml", "Makefile", "*.txt", "docs/**/*.md", ".ci/*", "*/**/*.py")
    for path in sorted(REPOSITORY.glob(pattern))
    if path.is_file() and not {".venv", "build", "__pycache__"} & set(path.parts)
]


def name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_the_environment_is_read_in_the_settings_alone():
    found = {
        name(path)
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        and node.attr in {"environ", "getenv", "putenv", "environb"}
    }
    assert found <= READS_ENVIRONMENT


def test_files_and_functions_are_short():
    long_files = {name(path): len(path.read_text().splitlines()) for path in MODULES}
    too_long = {path: lines for path, lines in long_files.items() if lines > MOST_LINES}
    assert {path: lines for path, lines in too_long.items() if path not in DECLARATIONS} == {}
    long_functions = {
        f"{name(path)}:{node.name}": node.end_lineno - node.lineno + 1
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    }
    assert {where: lines for where, lines in long_functions.items() if lines > MOST_LINES_OF_A_FUNCTION} == {}


def test_there_is_no_drawer_for_things_without_a_name():
    assert [name(path) for path in MODULES if path.stem in {"utils", "helpers", "common", "misc", "util"}] == []


def test_nothing_is_kept_in_a_format_that_can_run_code():
    found = {name(path): sorted(set(imported(path)) & UNSAFE_FORMATS) for path in MODULES}
    assert {path: formats for path, formats in found.items() if formats} == {}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_a_folder_that_says_what_it_does(stage):
    folder = REPOSITORY / "tasks" / stage
    assert ast.get_docstring(tree(folder / "__init__.py"))
    if stage != "reporting":
        assert "policy" in {path.stem for path in folder.glob("*.py")}


def test_every_module_says_what_it_is_for():
    assert [name(path) for path in MODULES if not ast.get_docstring(tree(path))] == []


def test_the_tests_mirror_the_packages():
    folders = {path.relative_to(REPOSITORY) for path in (REPOSITORY / "tests").rglob("test_*.py")}
    for stage in STAGES:
        assert any(path.parts[:3] == ("tests", "tasks", stage) for path in folders), f"tests/tasks/{stage} has no test"
    assert {"flows", "registry"} <= {path.parts[1] for path in folders}


def test_no_package_index_and_no_path_of_a_machine_is_named():
    forbidden = re.compile(r"py(pi)\.org|pythonhosted\.org|--index-url|--extra-index|/(root|home)/[a-z]|/work/main")
    found = {
        f"{name(path)}: {match.group()}"
        for path in WRITTEN
        if path != Path(__file__)
        for match in forbidden.finditer(path.read_text(encoding="utf-8"))
    }
    assert found == set()
