"""README.md is true: its commands exist with their options, and its tree is the one on the disk."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
from typer.main import get_command

from flows.cli import app
from flows.settings import PREFIX, Settings

REPOSITORY = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TREE_LINE = re.compile(r"^(?P<indent>\s*)(?P<name>[\w.-]+/?)(?:\s{2,}\S.*)?$")
LANGUAGES_OF_COMMANDS = {"", "sh", "bash", "shell", "console"}
TOP_LEVEL = {"flows/", "tasks/", "registry/", "tests/"}


def text() -> str:
    path = REPOSITORY / "README.md"
    assert path.exists(), "there is no README.md"
    return path.read_text(encoding="utf-8")


def blocks() -> list[tuple[str, str]]:
    return BLOCK.findall(text())


def commands() -> list[list[str]]:
    """Return every command line of the README's code blocks, as words, without comments, pipes and redirections."""
    found = []
    for language, body in blocks():
        if language not in LANGUAGES_OF_COMMANDS or is_tree(body):
            continue
        for line in body.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s(?:\||&&|;)\s", line.removeprefix("$ ")):
                found.append(shlex.split(part, comments=True))
    return [without_assignments(words) for words in found if without_assignments(words)]


def without_assignments(words: list[str]) -> list[str]:
    words = words[1:] if words[:1] == ["export"] else words
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    return words


def is_tree(body: str) -> bool:
    return any(line.split(maxsplit=1)[0] in TOP_LEVEL for line in body.splitlines() if line.strip())


def called(program: str) -> list[list[str]]:
    return [words for words in commands() if Path(words[0]).name == program]


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))


def root() -> Any:
    return get_command(app)


def test_the_two_commands_of_the_product_are_in_the_readme():
    assert ["make", "run"] in commands()
    assert ["make", "test"] in commands()


def test_every_make_target_in_the_readme_exists():
    named = {word for words in called("make") for word in words[1:] if "=" not in word and not word.startswith("-")}
    assert named <= targets()


def test_every_ratchet_command_in_the_readme_is_known_with_its_options():
    assert called("ratchet"), "the README shows no ratchet command"
    for words in called("ratchet"):
        if words[1:2] and words[1].startswith("-"):
            continue
        command = root().commands.get(words[1])
        assert command is not None, f"there is no `ratchet {words[1]}`"
        known = {option for parameter in command.params for option in parameter.opts + parameter.secondary_opts}
        used = {word.split("=")[0] for word in words[2:] if re.match(r"--?[a-z]", word)}
        assert used <= known | {"--help", "-h"}, " ".join(words)


def test_every_file_and_folder_that_a_command_names_in_the_repository_exists():
    made_by_use = {"examples/events.jsonl", "examples/more.jsonl", ".venv/bin/ratchet", ".venv/bin/python"}
    for words in commands():
        for word in words:
            if re.match(r"(examples|docs|benchmarks|flows|tasks|registry|tests|\.ci)/[\w./-]+$", word):
                assert word in made_by_use or (REPOSITORY / word).exists(), word


def test_every_link_to_a_file_leads_somewhere():
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text()):
        if not re.match(r"[a-z]+:", target):
            assert (REPOSITORY / target).exists(), target


def test_every_setting_that_the_readme_names_is_known():
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", text())) <= known


def test_the_tree_is_the_one_on_the_disk():
    trees = [body for _, body in blocks() if is_tree(body)]
    assert len(trees) == 1, "the README shows the tree once"
    shown = paths_of(trees[0])
    for path in shown:
        assert (REPOSITORY / path).exists(), f"{path} is in the README's tree but not on the disk"
    for package in ("flows", "tasks", "gateway", "registry"):
        folders = {path for path in (REPOSITORY / package).iterdir() if (path / "__init__.py").exists()}
        for folder in folders:
            assert folder.relative_to(REPOSITORY) in shown, f"{folder.name} is not in the README's tree"


def paths_of(body: str) -> set[Path]:
    """Return the paths of a tree that is drawn by indentation (or by box lines)."""
    found: set[Path] = set()
    above: list[tuple[int, str]] = []
    for line in body.splitlines():
        plain = re.sub(r"[│├└─]", " ", line)
        match = TREE_LINE.match(plain)
        if match is None or not plain.strip():
            continue
        depth = len(match["indent"])
        above = [(level, name) for level, name in above if level < depth]
        found.add(Path(*(name for _, name in above), match["name"]))
        if match["name"].endswith("/"):
            above.append((depth, match["name"]))
    return found


@pytest.mark.parametrize("target", ["run", "test", "install", "check", "docs", "bench"])
def test_make_help_lists_the_targets_that_users_need(target):
    assert re.search(rf"^{target}:.*## ", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)


def test_every_command_has_help():
    for name, command in root().commands.items():
        assert isinstance(command, click.Command) or command.help
        assert command.help, f"`ratchet {name}` has no help"
