"""The top of the page: what was decided, what speaks for and against it, and what to do next."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from registry.records import StageResult
from tasks.reporting.data import ReportData
from tasks.reporting.tables import key_figure
from tasks.reporting.words import against, decimal, milliseconds, more_cases, percent, plain, whole


class Headline(NamedTuple):
    """The verdict in words."""

    tone: str
    """`good`, `wait`, `bad` or `calm`: the colour; the words say the same."""
    word: str
    title: str
    sentence: str
    commands: list[tuple[str, str]]
    """What to do next: (what it does, the command)."""


class Figure(NamedTuple):
    """One of the key numbers."""

    name: str
    value: str
    note: str
    tone: str = ""


_WORDS = {
    "promoted": ("good", "Promoted"),
    "pending_approval": ("wait", "Waits for your approval"),
    "staged": ("wait", "Stays in staging"),
    "rejected": ("bad", "Rejected"),
    "quarantined": ("bad", "Quarantined"),
    "unchanged": ("calm", "Nothing new"),
}


def headline(data: ReportData) -> Headline:
    """Return the verdict in words, with the commands that go on from it."""
    tone, word = _WORDS[data.verdict]
    name, version = data.model, _version(data)
    title = f"{name}, version {version}" if version else name
    sentence = data.reason or _SENTENCES[data.verdict]
    sentence = f"{sentence[:1].upper()}{sentence[1:].rstrip('.')}."
    if data.verdict == "staged":
        sentence += f" {_next_step(data)}"
    return Headline(tone, word, title, sentence, _commands(data, name, version))


def _next_step(data: ReportData) -> str:
    failed = [plain(gate.name) for gate in data.gates if gate.status == "FAIL"]
    what = f"what the gate{'' if len(failed) == 1 else 's'} {' and '.join(failed)} named" if failed else ""
    return f"What to do next: fix {what or 'what is missing'}, or learn from more or better events."


_SAFETY = {"PASS": "clean", "FAIL": "fail", "INCONCLUSIVE": "unclear"}
"""What the tile of safety says, which has room for one short word."""
_SENTENCES = {
    "promoted": "All gates passed; this version serves now.",
    "pending_approval": "Every gate that evidence can decide has passed. A person decides the rest.",
    "staged": "The evidence is not strong enough for production, and not bad enough to reject.",
    "rejected": "A gate did not pass. What serves now goes on serving.",
    "quarantined": "A safety check failed. This version can be neither loaded by alias nor promoted.",
    "unchanged": "The same events and policy were learned before; nothing was trained.",
}


def _version(data: ReportData) -> str:
    if data.version is not None:
        return data.version.version
    return data.decision.version if data.decision is not None else ""


def _commands(data: ReportData, name: str, version: str) -> list[tuple[str, str]]:
    home = f" --home {shlex.quote(data.home)}" if data.home else ""
    model = shlex.quote(name)
    if data.verdict == "pending_approval":
        return [
            ("to promote it", f"ratchet approve {model} {version} --by YOUR_NAME{home}"),
            ("to leave it, do nothing; its history", f"ratchet history {model}{home}"),
        ]
    if data.verdict == "promoted":
        back = (
            [("to go back", f'ratchet rollback {model} --by YOUR_NAME --reason "WHY"{home}')] if data.champion else []
        )
        return [("to ask it", f"ratchet predict {model}@champion{home}"), *back]
    shown = shlex.quote(f"{name}/{version}" if version else name)
    return [("to see all that is recorded", f"ratchet show {shown}{home}")]


def figures(data: ReportData) -> list[Figure]:
    """Return the key numbers of the run, those that were reached."""
    found: list[Figure] = []
    stages = {stage.name: stage for stage in data.validation.stages} if data.validation else {}
    if stage := stages.get("performance"):
        found.append(_score(stage))
    if stage := stages.get("regression"):
        found.append(_kept(stage))
    if stage := stages.get("safety"):
        found.append(Figure("safety", _SAFETY[stage.status], key_figure(stage), stage.status))
    if data.readiness:
        tone = "PASS" if data.readiness.score > data.readiness_required else "FAIL"
        found.append(
            Figure("readiness", decimal(data.readiness.score), f"more than {data.readiness_required:.2f} needed", tone)
        )
    if stage := stages.get("latency"):
        note = f"baseline {milliseconds(_number(stage, 'baseline_p95_ms'))}"
        found.append(Figure("latency, p95", milliseconds(_number(stage, "candidate_p95_ms")), note, stage.status))
    if data.dataset:
        read = data.events.read if data.events else data.dataset.source_events
        note = f"dataset {data.dataset.version}; {whole(read)} events {'read' if data.events else 'used'}"
        found.append(Figure("examples", whole(sum(data.dataset.splits.values())), note))
    return found


def _kept(stage: StageResult) -> Figure:
    """Return how many right cases are still right; where the baseline gets none right, how many are not worse."""
    rate, cases = _number(stage, "pass_rate"), stage.counts.get("cases", 0)
    if rate is None and (kept := _number(stage, "kept_rate")) is not None:
        note = f"of {whole(stage.counts.get('all_cases'))} cases; the baseline gets none steadily right"
        return Figure("not worse", percent(kept), note, stage.status)
    needed = percent(stage.thresholds.get("pass_rate"), 0)
    note = f"of {whole(cases)} case{'' if cases == 1 else 's'}, at least {needed} needed"
    return Figure("still right", percent(rate), note, stage.status)


def _score(stage: StageResult) -> Figure:
    change = _number(stage, "relative_change")
    note = against(change, _number(stage, "baseline_score"))
    return Figure("score (token-F1)", decimal(_number(stage, "candidate_score")), note, stage.status)


def _number(stage: StageResult, name: str) -> float | None:
    value = stage.metrics.get(name)
    return float(value) if isinstance(value, int | float) else None


class Concern(NamedTuple):
    """Something to look at before trusting the candidate."""

    grave: bool
    text: str


class Arguments(NamedTuple):
    """What a careful reader would say on both sides."""

    good: list[str]
    care: list[Concern]


def arguments(data: ReportData) -> Arguments:
    """Return what speaks for the candidate, and what to look at before trusting it, worst first."""
    good: list[str] = []
    bad: list[str] = []
    unsure: list[str] = []
    for stage in data.validation.stages if data.validation else []:
        into = {"PASS": good, "FAIL": bad}.get(stage.status, unsure)
        said = [f"{stage.name.capitalize()}: {reason.rstrip('.')}." for reason in stage.reasons[:2]]
        if said and (more := more_cases(stage.more_cases_needed)):
            said[-1] += f" {more}"
        into += said
    if data.readiness:
        enough = data.readiness.score > data.readiness_required
        (good if enough else bad).append(
            f"Readiness {decimal(data.readiness.score)} {'exceeds' if enough else 'does not exceed'} "
            f"{data.readiness_required:.2f}."
        )
    bad += [f"Gate {plain(gate.name)}: {gate.reason.rstrip('.')}." for gate in data.gates if gate.status == "FAIL"]
    unsure += list(data.warnings)
    if data.events and data.events.read and data.events.rejected / data.events.read > 0.02:
        unsure.append(
            f"{percent(data.events.rejected / data.events.read)} of the lines were rejected; see the reasons below."
        )
    if data.validation and data.champion is None:
        unsure.append("There is no champion yet: the comparison is with the untrained base, which is easy to beat.")
    return Arguments(good, [Concern(True, text) for text in bad] + [Concern(False, text) for text in unsure])
