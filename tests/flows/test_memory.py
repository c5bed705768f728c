"""Results of steps that are kept, and what is not believed of them."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.memory import recall, remembered
from registry.records import Record
from registry.trust.signing import Keyring


class _Found(Record):
    verdict: str
    score: float = 0.1


class _Step:
    """A step that counts how often it was done."""

    def __init__(self, home: Path) -> None:
        self.keyring, self.folder, self.done = Keyring(home / "keys"), home / "cache" / "a1", 0

    def __call__(self) -> _Found:
        return remembered(self.keyring, self.folder, "findings", _Found, self._do)

    def _do(self) -> _Found:
        self.done += 1
        return _Found(verdict="REJECT")


@pytest.fixture
def step(tmp_path: Path) -> _Step:
    made = _Step(tmp_path)
    made()
    return made


def _another(step: _Step) -> None:
    (step.folder / "findings.json").write_text(json.dumps({"verdict": "DEPLOY", "score": 0.1}))


def _another_without_seal(step: _Step) -> None:
    _another(step)
    (step.folder / "findings.seal").unlink()


def _seal_that_is_none(step: _Step) -> None:
    (step.folder / "findings.seal").write_bytes(b"\xff{}")


def _of_another_folder(step: _Step) -> None:
    shutil.copytree(step.folder, step.folder.with_name("b2"))
    step.folder = step.folder.with_name("b2")


def _sealed_by_somebody_else(step: _Step) -> None:
    theirs = Keyring(step.folder.parent / "theirs")
    remembered(theirs, step.folder.parent / "else" / "a1", "findings", _Found, lambda: _Found(verdict="DEPLOY"))
    shutil.copytree(step.folder.parent / "else" / "a1", step.folder, dirs_exist_ok=True)


def _sealed_with_a_key_that_was_revoked(step: _Step) -> None:
    old = step.keyring.own().key_id
    step.keyring.rotate()
    step.keyring.revoke(old, "stolen")


def test_a_step_is_done_once(step: _Step) -> None:
    assert step() == _Found(verdict="REJECT")
    assert step.done == 1


def test_what_was_sealed_with_a_retired_key_still_counts(step: _Step) -> None:
    step.keyring.rotate()
    step()
    assert step.done == 1


@pytest.mark.parametrize(
    "change",
    [_another, _another_without_seal, _seal_that_is_none, _of_another_folder, _sealed_by_somebody_else,
     _sealed_with_a_key_that_was_revoked],
)  # fmt: skip
def test_a_result_that_this_installation_did_not_seal_is_computed_anew(
    step: _Step, change: Callable[[_Step], None], caplog: pytest.LogCaptureFixture
) -> None:
    change(step)
    with caplog.at_level(logging.INFO):
        assert step() == _Found(verdict="REJECT")
    assert step.done == 2
    assert "computed anew" in caplog.text
    assert recall(step.keyring, step.folder, "findings", _Found) == _Found(verdict="REJECT")
    assert step.done == 2
