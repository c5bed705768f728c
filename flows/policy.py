"""The policy: what is learned, and what is let through. Every stage's settings, composed in one file.

A policy file is YAML (or TOML, or JSON) with one section a stage; what it does not name keeps its default:

    filtering:
      minimum_quality: 80
    promotion:
      approval: auto

`load_policy` reports every problem of a file at once, each with its dotted name and its line.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, Field, ValidationError

from flows.settings import Settings, suggestion
from registry.erasure.plan import ErasurePolicy
from registry.errors import SettingsError, listed
from registry.records import Record, canonical_digest
from tasks.curation.policy import CurationPolicy
from tasks.experiments.policy import ExperimentPolicy
from tasks.extraction.policy import ExtractionPolicy
from tasks.filtering.policy import FilteringPolicy
from tasks.promotion.policy import PromotionPolicy
from tasks.screening.policy import ScreeningPolicy
from tasks.sources.policy import SourcePolicy
from tasks.training.policy import TrainingPolicy
from tasks.triggers.policy import TriggerPolicy
from tasks.validation.policy import ValidationPolicy

Where = tuple[str | int, ...]
"""The way to a setting: its section, its name, a position in a list."""
MAX_DEPTH = 20
MAX_BYTES = 256 * 1024
"""A policy is a page. What is larger is something else, and reading it as YAML would take long."""


class Policy(Record):
    """The policies of the stages, by name."""

    extraction: ExtractionPolicy = Field(default_factory=ExtractionPolicy)
    """Events → examples."""
    sources: SourcePolicy = Field(default_factory=SourcePolicy)
    """Who may teach, and how much."""
    filtering: FilteringPolicy = Field(default_factory=FilteringPolicy)
    """Examples → ACCEPT, REVIEW or REJECT."""
    screening: ScreeningPolicy = Field(default_factory=ScreeningPolicy)
    """Accepted examples → those that nobody planted."""
    curation: CurationPolicy = Field(default_factory=CurationPolicy)
    """Accepted examples → a dataset version."""
    training: TrainingPolicy = Field(default_factory=TrainingPolicy)
    """A dataset version → an adapter."""
    validation: ValidationPolicy = Field(default_factory=ValidationPolicy)
    """A candidate → a report."""
    promotion: PromotionPolicy = Field(default_factory=PromotionPolicy)
    """A report → a decision."""
    triggers: TriggerPolicy = Field(default_factory=TriggerPolicy)
    """When to retrain."""
    experiments: ExperimentPolicy = Field(default_factory=ExperimentPolicy)
    """How a challenger is tried beside the champion, and a new champion watched."""
    erasure: ErasurePolicy = Field(default_factory=ErasurePolicy)
    """What follows for versions that saw somebody who was erased."""


AROUND = frozenset({"triggers", "experiments", "erasure"})
"""Sections that say when a run starts and what follows from it, and change nothing in the run itself."""


def policy_digest(policy: Policy) -> str:
    """Return the sha256 of what a run depends on, with all defaults: equal for two files that amount to the same."""
    return canonical_digest(policy.model_dump(mode="json", exclude=set(AROUND)))


def chosen_file(given: Path | str | None, settings: Settings) -> Path | None:
    """Return the policy file that counts: the one that is given, else the setting's; None where there is neither."""
    return Path(given) if given else settings.policy


def load_policy(path: Path | None = None) -> Policy:
    """Read a policy file; without one, return the defaults.

    Raises:
        SettingsError: E7801 with every problem of the file at once.
    """
    if path is None:
        return Policy()
    tree, lines, problems = _read(path)
    tree = _plain(tree)
    problems += list(_not_finite(tree))
    policy = Policy()
    try:
        # As JSON and strictly: a list may become a tuple, but "0.9" no number and `yes` no 1.0.
        policy = Policy.model_validate_json(json.dumps(tree), strict=True)
    except ValidationError as error:
        problems += [_problem(detail) for detail in error.errors(include_url=False)]
    if problems:
        ordered = sorted(problems, key=lambda problem: lines.get(problem.path, 0))
        raise _unusable(path, listed([problem.text(lines) for problem in ordered]))
    return policy


class Problem(NamedTuple):
    """One thing that is wrong with a policy file."""

    path: Where
    message: str

    def text(self, lines: Mapping[Where, int]) -> str:
        """Return the problem with its place."""
        known = next((self.path[:end] for end in range(len(self.path), 0, -1) if self.path[:end] in lines), None)
        where = f"line {lines[known]}: " if known is not None else ""
        return f"{where}{'.'.join(map(str, self.path))} {self.message}".strip()


def _unusable(path: Path, what: str) -> SettingsError:
    return SettingsError(
        "E7801", f"policy {path}: {what}", "correct the file; `ratchet policy` prints every setting with its default"
    )


# --- reading -------------------------------------------------------------------------------------------------------


def _read(path: Path) -> tuple[Any, dict[Where, int], list[Problem]]:
    """Return the file's content, the line of each key, and what is wrong with its form."""
    text = _text(path)
    lines: dict[Where, int] = {}
    problems: list[Problem] = []
    try:
        if path.suffix == ".toml":
            tree: Any = tomllib.loads(text)
        elif path.suffix == ".json":
            tree = json.loads(text, object_pairs_hook=lambda pairs: _without_twins(pairs, problems))
        else:
            tree = _read_yaml(text, lines, problems)
    except RecursionError:
        raise _unusable(path, "nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise _unusable(path, " ".join(str(error).split())[:300]) from None
    if tree is None:
        raise _unusable(path, "it is empty, which might be a mistake")
    if not isinstance(tree, dict):
        raise _unusable(path, "it must be sections with settings, such as `filtering:`")
    return tree, lines, problems


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror or error})") from error
    if len(raw) > MAX_BYTES:
        raise _unusable(path, f"larger than {MAX_BYTES // 1024} KiB, so it is no policy")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unusable(path, f"not UTF-8 text (byte {error.start})") from None


def _without_twins(pairs: list[tuple[str, Any]], problems: list[Problem]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            problems.append(Problem((key,), "is given twice"))
        result[key] = value
    return result


class _Loader(yaml.SafeLoader):
    """Plain YAML in which 1e-3 is a number, as everywhere else."""


_Loader.yaml_implicit_resolvers = {key: list(value) for key, value in yaml.SafeLoader.yaml_implicit_resolvers.items()}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _read_yaml(text: str, lines: dict[Where, int], problems: list[Problem]) -> Any:
    _refuse_tricks(text)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _note_keys(node, (), lines, problems)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _refuse_tricks(text: str) -> None:
    """Refuse what makes a small file large or slow, while it is still a stream of events."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):  # a page of them can stand for a gigabyte
            raise ValueError(f"line {line}: aliases (*name) are not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"line {line}: nested too deeply")


def _note_keys(node: yaml.Node, path: Where, lines: dict[Where, int], problems: list[Problem]) -> None:
    """Write down the line of every key, and the keys that are given twice."""
    if isinstance(node, yaml.SequenceNode):
        for position, child in enumerate(node.value):
            _note_keys(child, (*path, position), lines, problems)
    elif isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            here = (*path, str(key.value))
            if here in lines:
                problems.append(Problem(here, f"is given twice, also on line {key.start_mark.line + 1}"))
            else:
                lines[here] = key.start_mark.line + 1
            _note_keys(child, here, lines, problems)


def _plain(value: Any) -> Any:
    """Return the value as JSON can hold it; what only YAML and TOML know (dates, bytes) becomes text."""
    if isinstance(value, dict):
        return {str(key): _plain(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_plain(child) for child in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _not_finite(value: Any, path: Where = ()) -> Iterator[Problem]:
    if isinstance(value, float) and not math.isfinite(value):
        yield Problem(path, "must be a finite number")
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from _not_finite(child, (*path, str(key)))
    elif isinstance(value, list):
        for position, child in enumerate(value):
            yield from _not_finite(child, (*path, position))


# --- telling -------------------------------------------------------------------------------------------------------


def _problem(detail: Any) -> Problem:
    path: Where = tuple(detail["loc"])
    if detail["type"] == "extra_forbidden":
        return Problem(path, f"is no setting{_meant(path)}")
    message = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if detail["type"] == "value_error":
        return Problem(path, f": {message}".removeprefix(": ") if not path else f"contradicts itself: {message}")
    return Problem(path, f"{message}, not {json.dumps(detail['input'], default=str)[:60]}")


def _meant(path: Where) -> str:
    """Return the setting that an unknown one may have been meant for: a near name, or the same in another section."""
    siblings = _fields_at(path[:-1])
    near = suggestion(str(path[-1]), siblings)
    if near:
        return near
    elsewhere = [f"{section}.{path[-1]}" for section in Policy.model_fields if path[-1] in _fields_at((section,))]
    return f" (did you mean {elsewhere[0]}?)" if elsewhere else ""


def _fields_at(path: Where) -> set[str]:
    model: Any = Policy
    for part in path:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        model = field.annotation if field is not None else None
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return set()
    return set(model.model_fields)
