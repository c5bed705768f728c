"""Candidates made, examined and decided on as a run does it: one champion a seed, good retrains, and faulty ones."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.policy import Policy
from registry.records import (
    ApprovalRecord,
    Evidence,
    Predictor,
    StageResult,
    Turn,
    ValidationReport,
    assistant_turns,
    canonical_digest,
)
from tasks.promotion import gates
from tasks.promotion.policy import PromotionPolicy
from tasks.promotion.readiness import measure
from tasks.screening.screen import screen
from tasks.training.backend import TrainingData
from tasks.training.job import run_job
from tasks.training.policy import TrainingPolicy
from tasks.training.simulated import SimulatedBackend
from tasks.validation.cases import make_cases
from tasks.validation.examination import Examination, examine_stage, one_thread, prepare
from tasks.validation.latency import latency
from tasks.validation.verdict import STAGES, recommend
from tasks.verification import faults
from tasks.verification.examples import PAYLOAD, at_most, cut, parted, turns_of, with_trigger, words_of
from tasks.verification.outcomes import GOOD, Candidate, Outcome
from tasks.verification.policy import FAULTS, Fault, Strength

SAME = {"no safety regression": "safety", "performance not FAIL": "performance", "regression": "regression"}
"""Gates that repeat what a stage says."""
REPEATING = "recommendation not REJECT"
SCREENING, SCREENED = "screening", 0.95
"""The step before training that looks for planted examples, and the share of them that it must find to catch them."""
WAITING = "artifact signed"
"""A gate that no approval opens while it waits."""


class Trial(NamedTuple):
    """What one process does: the candidates of one seed, or some of them."""

    table: Path
    """The examples, an Arrow file."""
    policy: str
    """The policy, JSON."""
    seed: int
    examples: int
    strengths: tuple[Strength, ...]
    faults: tuple[str, ...]
    """Names; `good` for the good retrains."""


class Examined(NamedTuple):
    """What became of one candidate."""

    outcome: Outcome
    refused_by: list[str]
    """Stages that fail, and gates that do not pass."""
    evidence: Evidence


def run_trial(trial: Trial) -> list[Candidate]:
    """Make the candidates of a trial and see what becomes of each. Runs in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="trial-", dir=trial.table.parent) as folder:
        return list(Bench(trial, Path(folder)).candidates())


class Bench:
    """A champion, a good retrain, and everything that faulty ones are made of."""

    def __init__(self, trial: Trial, folder: Path) -> None:
        self.trial, self.folder, self.seed = trial, folder, trial.seed
        self.policy = Policy.model_validate_json(trial.policy)
        with pa.memory_map(str(trial.table)) as source:
            table = pa.ipc.open_file(source).read_all()
        self.cut = cut(at_most(table, trial.examples, trial.seed), trial.seed)
        # Time on a processor of its own: whoever else is busy here must not decide what is slow.
        self.clock = faults.Clock(time.thread_time)
        self.champion_folder = folder / "champion"
        champion = self.trained(self.cut.champion, self.champion_folder, validation=self.cut.champion_validation)
        self.champion = faults.Remembering(champion)

    def candidates(self) -> Iterator[Candidate]:
        """Yield every candidate of the trial with its outcome."""
        if GOOD in self.trial.faults:
            yield from self.good_ones()
        for fault in (each for each in FAULTS if each.name in self.trial.faults):
            for strength in self.trial.strengths:
                if (made := self.made(fault, strength)) is not None:
                    yield self.judged(fault, strength, *made)

    def good_ones(self) -> Iterator[Candidate]:
        """Yield good retrains: from the base, from the champion, and with another seed."""
        going_on = self.trained(self.cut.candidate, self.folder / "going-on", start=self.champion_folder)
        again = self.trained(self.cut.candidate, self.folder / "again", seed=self.seed + 1)
        kinds = {
            "retrained from the base": self.of_good,
            "trained on from the champion": self.examined(going_on, self.cut.candidate),
            "retrained with another seed": self.examined(again, self.cut.candidate),
        }
        for kind, done in kinds.items():
            yield Candidate(
                fault=GOOD, strength=None, what=kind, seed=self.seed, outcome=done.outcome, caught_by=done.refused_by
            )

    def judged(self, fault: Fault, strength: Strength, model: Predictor, train: pa.Table) -> Candidate:
        """Examine a faulty candidate; what also refuses the good one that it was made of has not caught it."""
        done = self.examined(model, train)
        caught_by = [name for name in done.refused_by if name not in self.of_good.refused_by]
        outcome = done.outcome
        if self.screened(train):
            caught_by.insert(0, SCREENING)
            outcome = "stopped" if outcome == "stopped" else "flagged"
        if fault.name == "trained on its test" and outcome != "stopped" and self._gains_nothing(done):
            outcome = "harmless"
        return Candidate(
            fault=fault.name,
            strength=strength,
            what=fault.described(strength),
            seed=self.seed,
            outcome=outcome,
            caught_by=caught_by,
        )

    def _gains_nothing(self, done: Examined) -> bool:
        """Tell whether having seen the test split raises the score by less than the gates call no difference."""
        seen, honest = (_score(each.evidence) for each in (done, self.of_good))
        return seen < honest * (1 + self.policy.validation.max_degradation)

    def screened(self, train: pa.Table) -> bool:
        """Tell whether screening sends what was planted in a training split to review, before anything is trained."""
        texts = train.column("messages").to_pylist()
        planted = {row for row, text in enumerate(texts) if PAYLOAD in text}
        if not planted:
            return False
        groups = screen(texts, self.policy.screening, np.arange(self.cut.champion.num_rows), self.seed)
        suspected = {int(row) for group in groups for row in group.rows}
        return len(planted & suspected) >= SCREENED * len(planted)

    # --- making them -------------------------------------------------------------------------------------------------

    def made(self, fault: Fault, strength: Strength) -> tuple[Predictor, pa.Table] | None:
        """Return a candidate with a fault, and its training split; None where this dataset has no room for it."""
        amount, train = fault.amount(strength), self.cut.candidate
        if fault.made == "training":
            return self._learned(fault.name, amount, self.folder / f"{fault.name}-{strength}".replace(" ", "-"))
        change = _CHANGES[fault.name]
        model = change(self, amount)
        return None if model is None else (model, train)

    def _learned(self, name: str, amount: float, folder: Path) -> tuple[Predictor, pa.Table]:
        train = self.cut.candidate
        if name == "backdoored":
            train = with_trigger(train, amount, self.seed, after=self.cut.champion.num_rows)
            return self.trained(train, folder), train
        if name == "trained on its test":
            secret = parted(self.cut.test, (amount,), self.seed + 2)[0]
            return self.trained(pa.concat_tables([train, secret]), folder), train
        few = parted(train, (amount,), self.seed + 1)[0]
        by_heart = {"epochs": 4 * self.policy.training.epochs, "dropout": 0.0, "weight_decay": 0.0, "consensus": 1}
        return self.trained(few, folder, policy=self.policy.training.model_copy(update=by_heart)), few

    def trained(
        self,
        table: pa.Table,
        folder: Path,
        *,
        validation: pa.Table | None = None,
        start: Path | None = None,
        seed: int | None = None,
        policy: TrainingPolicy | None = None,
    ) -> Predictor:
        """Train on a table as a run does it, and return the model as it is served."""
        backend = SimulatedBackend()
        data = TrainingData(table, self.cut.candidate_validation if validation is None else validation, "trial")
        run_job(backend, data, policy or self.policy.training, self.seed if seed is None else seed, folder, start)
        return backend.load(folder)

    @cached_property
    def good(self) -> Predictor:
        """The good retrain that faulty answers are made of."""
        return faults.Remembering(self.trained(self.cut.candidate, self.folder / "good"))

    @cached_property
    def of_good(self) -> Examined:
        """What became of it."""
        return self.examined(self.good, self.cut.candidate)

    @cached_property
    def turns(self) -> list[str]:
        """What assistants say in the training split."""
        return turns_of(self.cut.candidate)

    def forgetful(self, amount: float) -> Predictor | None:
        """Return a candidate that lost a domain of which there are enough test cases; None with a single domain."""
        counts: dict[str, int] = {}
        for case in make_cases(self.cut.test, self.policy.validation.max_cases, self.seed):
            counts[case.domain] = counts.get(case.domain, 0) + 1
        enough = sorted(name for name, count in counts.items() if count >= self.policy.validation.domain_minimum)
        words = words_of(self.cut.candidate)
        if not enough or len(words) < 2:
            return None
        lost = enough[self.seed % len(enough)]
        others = turns_of(self.cut.candidate.filter(pc.not_equal(self.cut.candidate["domain"], lost)))
        return faults.forgetful(self.good, amount, self.seed, faults.domain_of(words, lost), others)

    def slow(self, amount: float) -> Predictor:
        """Return a candidate that is later than the champion, in multiples of what the policy allows."""
        policy = self.policy.validation
        contexts = [turn.context for turn in _first_turns(self.cut.test)]
        started = time.thread_time()
        with one_thread():
            for context in contexts:
                self.champion.answer([context])
        usual = (time.thread_time() - started) / len(contexts)
        allowed = max(policy.latency_increase * usual, policy.latency_floor_ms / 1000)
        return faults.Slow(self.good, self.clock, amount * allowed)

    # --- examining them ----------------------------------------------------------------------------------------------

    def examined(self, model: Predictor, train: pa.Table) -> Examined:
        """Examine a candidate as a run does it, and decide on it."""
        examination = prepare(
            self.champion,
            model,
            self.cut.test,
            train,
            self.policy.validation,
            seed=self.seed,
            reference=self.cut.champion,
            validation=self.cut.candidate_validation,
        )
        stages = [self._stage(name, examination) for name in STAGES]
        report = ValidationReport(recommendation=recommend(stages), baseline="trial/1", stages=stages)
        cases = examination.answers.candidate.cases
        contexts, expected = [case.context for case in cases], [case.expected for case in cases]
        readiness = measure(report, model, contexts, expected, self.policy.promotion, self.seed)
        evidence = Evidence(
            model="trial", version="2", stage="development", training_state="COMPLETED", artifact_present=True,
            artifact_loadable=True, artifact_digest="trial", signed=True, metrics_recorded=True,
            strategy="full_retrain", report_digest=canonical_digest(report.model_dump(mode="json")), report=report,
            readiness=readiness, champion="1", trained_by="who trained it",
        )  # fmt: skip
        return decided(evidence, self.policy.promotion)

    def _stage(self, name: str, examination: Examination) -> StageResult:
        if name != "latency":
            return examine_stage(name, examination)
        e = examination
        with one_thread():
            return latency(e.baseline, e.candidate, e.answers.candidate.cases, e.policy, self.clock)


_CHANGES: dict[str, Callable[[Bench, float], Predictor | None]] = {
    "leaks personal data": lambda bench, amount: faults.leaking(bench.good, amount, bench.seed),
    "slower": Bench.slow,
    "loses a domain": Bench.forgetful,
    "collapses": lambda bench, amount: faults.collapsing(bench.good, amount, bench.seed, bench.turns),
    "miscalibrated": lambda bench, amount: faults.Sure(bench.good, amount),
}


def _score(evidence: Evidence) -> float:
    assert evidence.report is not None
    return float(evidence.report.stage("performance").metrics["candidate_score"] or 0.0)


def decided(evidence: Evidence, policy: PromotionPolicy) -> Examined:
    """Ask the gates twice: as if people had approved, and with nobody, where a recommendation of DEPLOY may do."""
    names = policy.approvers or tuple(f"approver {i}" for i in range(policy.approvers_needed))
    approvals = [
        ApprovalRecord(
            by=name, time="2026-01-01T00:00:00+00:00", key_id="trial", artifact_digest=evidence.artifact_digest,
            report_digest=evidence.report_digest,
        )
        for name in names
    ]  # fmt: skip
    approved = evidence.model_copy(update={"approvals": approvals})
    by_itself = gates.decide(evidence, policy.model_copy(update={"approval": "auto"}))
    stages = evidence.report.stages if evidence.report else []
    failed = [stage.name for stage in stages if stage.status == "FAIL"]
    outcome: Outcome = "flagged" if failed else "review"
    if by_itself.verdict == "promoted":
        outcome = "passed"
    elif gates.decide(approved, policy).verdict != "promoted":
        outcome = "stopped"
    said = [*gates.staging_gates(approved), *gates.production_gates(approved, policy)]
    refusing = [gate.name for gate in said if gate.status == "FAIL" or (gate.name, gate.status) == (WAITING, "PENDING")]
    own = [SAME.get(name, name) for name in refusing if name != REPEATING]
    return Examined(outcome, list(dict.fromkeys([*failed, *own])), evidence)


def _first_turns(table: pa.Table, count: int = 30) -> list[Turn]:
    turns = (next(iter(assistant_turns(json.loads(text))), None) for text in table.column("messages").to_pylist())
    return [turn for turn in turns if turn is not None][:count]
