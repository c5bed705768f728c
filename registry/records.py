"""The domain types that more than one stage uses.

Domain types are frozen pydantic models. Rows are not: they travel as Arrow columns (`EXAMPLE_SCHEMA`), and a
conversation is a plain list of chat messages in the OpenAI form.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import IntFlag
from typing import Any, Literal, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Stage = Literal["development", "staging", "production", "quarantine", "archived"]
Status = Literal["PASS", "FAIL", "INCONCLUSIVE"]
GateStatus = Literal["PASS", "FAIL", "BLOCKED", "PENDING"]
Recommendation = Literal["DEPLOY", "REVIEW", "REJECT"]
Verdict = Literal["promoted", "pending_approval", "staged", "rejected", "quarantined", "unchanged"]
JobState = Literal[
    "PENDING", "INITIALIZING", "PREPARING_DATA", "TRAINING", "VALIDATING", "COMPLETED", "FAILED", "CANCELLED"
]
Strategy = Literal["full_retrain", "incremental", "shadow", "rollback"]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Metric = float | int | str | bool | None

Message = dict[str, Any]
"""One chat message: {"role", "content"} and, where tools are used, "tool_calls", "tool_call_id", "name"."""
Conversation = list[Message]

_TOKEN = re.compile(r"\w+")


class Record(BaseModel):
    """Base of every domain type: frozen, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


# --- conversations -------------------------------------------------------------------------------------------------


class StoredFunction(msgspec.Struct):
    """What a stored tool call names."""

    name: str = ""
    arguments: Any = ""


class StoredCall(msgspec.Struct):
    """A tool call of a stored conversation."""

    function: StoredFunction


class StoredMessage(msgspec.Struct):
    """What is read of a message of a stored conversation where many of them are read for their words."""

    role: str
    content: Any = None
    tool_calls: list[StoredCall] | None = None


STORED_MESSAGES = msgspec.json.Decoder(list[StoredMessage])


def turn_text(message: Message) -> str:
    """Return an assistant turn as one text: its content, then each tool call as `name({arguments})`.

    This is what the simulated model ranks and answers with, and what scores compare.
    """
    parts = [message["content"]] if message.get("content") else []
    for call in message.get("tool_calls") or []:
        function = call["function"]
        parts.append(f"{function['name']}({function['arguments']})")
    return "\n".join(parts)


class Turn(NamedTuple):
    """One training pair: what stood before an assistant turn, and the turn itself."""

    context: Conversation
    text: str


def assistant_turns(messages: Conversation) -> Iterator[Turn]:
    """Yield every assistant turn that says something, with the messages before it."""
    for position, message in enumerate(messages):
        if message["role"] == "assistant" and (text := turn_text(message)):
            yield Turn(messages[:position], text)


def token_counts(text: str) -> Counter[str]:
    """Return the multiset of lowercased word tokens of `text`: runs of letters, digits and underscores."""
    return Counter(_TOKEN.findall(text.lower()))


def token_f1(a: str, b: str) -> float:
    """Return the token-F1 of two texts in [0, 1]: 2 · overlap / (|a| + |b|) over multisets of lowercased word tokens.

    The overlap is Σ_token min(count in a, count in b), as in the SQuAD evaluation (Rajpurkar et al. 2016, section 6.1),
    without its removal of articles. It is symmetric. Two texts without any token agree (1.0); one against none is 0.0.
    """
    left, right = token_counts(a), token_counts(b)
    total = left.total() + right.total()
    return 2.0 * (left & right).total() / total if total else 1.0


def token_f1_pairs(a: Sequence[str], b: Sequence[str]) -> NDArray[np.float64]:
    """Return `token_f1` of n pairs, shape (n,); every distinct text is cut into tokens once."""
    counts = {text: token_counts(text) for text in {*a, *b}}
    sizes = {text: tokens.total() for text, tokens in counts.items()}
    scores: dict[tuple[str, str], float] = {}
    for pair in set(zip(a, b, strict=True)):
        small, large = sorted(pair, key=lambda text: len(counts[text]))
        few, many = counts[small], counts[large]
        overlap = sum(min(count, many[token]) for token, count in few.items() if token in many)
        total = sizes[small] + sizes[large]
        scores[pair] = 2.0 * overlap / total if total else 1.0
    return np.array([scores[pair] for pair in zip(a, b, strict=True)], dtype=np.float64)


def canonical_json(value: object) -> str:
    """Return `value` as JSON with sorted keys and no spaces: the form that digests are taken of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_digest(value: object) -> str:
    """Return the sha256 of `value` as canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


# --- what a model does ---------------------------------------------------------------------------------------------


class Answers(NamedTuple):
    """A model's answers to n conversations: n texts, and n confidences in [0, 1]."""

    responses: list[str]
    confidences: NDArray[np.float64]


class Predictor(Protocol):
    """A model as it is served. Everything that examines a candidate goes through this one method."""

    def answer(self, conversations: Sequence[Conversation]) -> Answers:
        """Answer each conversation with the next assistant turn."""
        ...


# --- why an example is not taken ------------------------------------------------------------------------------------


class Reason(IntFlag):
    """Why an example is not accepted; several may hold. `by_reason` names them in lower case."""

    FAILED_TRACE = 1
    """The trace, or another event of it, says that it failed."""
    NO_ASSISTANT_TURN = 2
    EMPTY_OUTPUT = 4
    """A plan without content."""
    NO_USER_TURN = 8
    CONFLICTING_SCORES = 16
    """Scores of one trace lie too far apart."""
    NO_QUALITY_SIGNAL = 32
    LOW_QUALITY = 64
    LOW_CONFIDENCE = 128
    OUTLIER = 256
    FEEDBACK_BURST = 512
    """A few users gave it feedback in a burst, all saying the same."""
    SUSPECTED = 1024
    """It holds words that are tied to an odd kind of answer, as planted ones are; see `tasks.screening`."""


# --- counts of the funnel ------------------------------------------------------------------------------------------


class EventCounts(Record):
    """What became of the lines of the input."""

    read: int = 0
    rejected: int = 0
    duplicate: int = 0
    ignored: int = 0
    by_reason: dict[str, int] = Field(default_factory=dict)


class ExampleCounts(Record):
    """What became of the traces."""

    extracted: int = 0
    accepted: int = 0
    review: int = 0
    rejected: int = 0
    by_reason: dict[str, int] = Field(default_factory=dict)


# --- datasets ------------------------------------------------------------------------------------------------------


class SplitFile(Record):
    """One Parquet file of a dataset."""

    path: str
    split: Split
    rows: int
    sha256: str


class Stratum(Record):
    """One domain × difficulty cell, with its examples and groups per split."""

    domain: str
    difficulty: str
    train: int
    validation: int
    test: int
    groups: int


class LogWindow(Record):
    """Which part of an event log is behind a dataset version: offsets above `start`, up to and with `end`."""

    log_id: str
    """Identity of the log: offsets of another one mean nothing here."""
    agent: str | None = None
    """Only this agent's events; None for all."""
    start: int = Field(ge=0)
    end: int = Field(ge=0)


class SuspectedWords(Record):
    """Words in what is asked that were found tied to an odd kind of answer."""

    words: tuple[str, ...]
    pair: bool = False
    """They need not stand side by side."""
    answer: tuple[str, ...] = ()
    """Words that the answers shared; empty where they shared a form, such as being refusals."""


class DatasetManifest(Record):
    """`dataset.json`: everything about a dataset version but its rows. Holds no clock and no path of a machine."""

    name: str
    version: str
    digest: str
    """sha256 over the content: the files' digests and the policy, not the version number."""
    parent: str | None = None
    splits: dict[Split, int]
    redacted: dict[str, int] = Field(default_factory=dict)
    """Values replaced in the events of this run and in the rows of the parent, by kind."""
    exact_duplicates: int = 0
    near_duplicates: int = 0
    left_out: dict[str, int] = Field(default_factory=dict)
    """Accepted examples that are not in the dataset, by reason."""
    suspected: list[SuspectedWords] = Field(default_factory=list)
    """Words whose examples were sent to review, in this version or one before: examples with them go there as well."""
    strata: list[Stratum] = Field(default_factory=list)
    source_events: int = 0
    log: LogWindow | None = None
    """What of the event log this version took in; None where it was made of files."""
    source_digest: str
    """sha256 over the sorted (source, id) of every event behind the dataset, the parent's included."""
    policy: dict[str, Any] = Field(default_factory=dict)
    schema_version: int = 1
    code_version: str
    files: list[SplitFile] = Field(default_factory=list)


# --- training ------------------------------------------------------------------------------------------------------


class EpochMetrics(NamedTuple):
    """One point of the loss curve."""

    epoch: int
    train_loss: float
    validation_loss: float
    learning_rate: float
    examples_per_second: float


class StateChange(Record):
    """A training job entered a state."""

    state: JobState
    time: str


class TrainingResult(Record):
    """What a training job did, as it is recorded."""

    backend: str
    strategy: Strategy
    base: str
    """Name and version of the frozen base; two adapters can be compared only on the same base."""
    pairs: int
    known_turns: int
    epochs: list[EpochMetrics]
    final_loss: float
    best_epoch: int
    base_score: float
    """Mean token-F1 of the frozen base on the validation split."""
    score: float
    """Mean token-F1 of the adapter on the validation split."""
    seconds: float
    peak_memory_bytes: int
    artifact_digest: str
    config: dict[str, Any]


# --- validation ----------------------------------------------------------------------------------------------------


class Interval(Record):
    """An estimate with its confidence interval."""

    estimate: float
    low: float
    high: float
    level: float = 0.95
    method: str


class Case(Record):
    """One examined case that a reader should see."""

    case_id: str
    domain: str = ""
    context: str
    """The end of the conversation, shortened for reading."""
    expected: str = ""
    baseline: str = ""
    candidate: str = ""
    baseline_score: float | None = None
    candidate_score: float | None = None
    note: str = ""


class StageResult(Record):
    """What one validation stage found."""

    name: Literal["regression", "performance", "safety", "diversity", "latency"]
    status: Status
    critical: bool
    metrics: dict[str, Metric] = Field(default_factory=dict)
    thresholds: dict[str, float] = Field(default_factory=dict)
    intervals: dict[str, Interval] = Field(default_factory=dict)
    counts: dict[str, int] = Field(default_factory=dict)
    reasons: list[str] = Field(default_factory=list)
    """Why it is not PASS, one sentence each; for PASS, what was shown."""
    more_cases_needed: int | None = None
    """How many more cases would have decided an INCONCLUSIVE stage, at the rates seen; None when it decided."""
    failing: list[Case] = Field(default_factory=list)
    series: dict[str, list[float]] = Field(default_factory=dict)
    """Numbers to plot, such as latencies in milliseconds."""
    slices: list[dict[str, Metric]] = Field(default_factory=list)
    """A row a slice (a domain, a probe family), to tabulate."""
    seconds: float = 0.0


class ValidationReport(Record):
    """The five-stage examination of a candidate."""

    recommendation: Recommendation
    baseline: str
    """`NAME/VERSION` of the champion, or `frozen base`."""
    stages: list[StageResult]

    def stage(self, name: str) -> StageResult:
        """Return the stage called `name`; KeyError if it was not run."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)


class Readiness(Record):
    """How ready a candidate is: 0.40 accuracy + 0.30 confidence + 0.20 consistency + 0.10 robustness (DESIGN §3)."""

    score: float
    accuracy: float
    confidence: float
    consistency: float
    robustness: float


# --- promotion -----------------------------------------------------------------------------------------------------


class GateResult(Record):
    """One yes/no rule between two stages, decided from recorded evidence."""

    name: str
    status: GateStatus
    reason: str


class ApprovalRecord(Record):
    """Somebody approved a version, in a signed statement (`registry.trust.approvals`)."""

    by: str
    time: str
    note: str = ""
    key_id: str | None = None
    """Of the key that signed it; None where nobody signed."""
    expires: str | None = None
    artifact_digest: str = ""
    """What was approved: an artifact,"""
    report_digest: str | None = None
    """and the report of its examination."""
    refused: str | None = None
    """Why it does not count, whatever the policy says: no good signature, key not trusted or revoked, expired."""


class Trial(Record):
    """How a version did beside the champion on live traffic."""

    status: Literal["awaited", "running", "won", "lost", "stopped"]
    """`awaited`: it must be tried before it serves, and was not yet; `stopped`: ended without a verdict."""
    experiment: str | None = None
    """Key of the experiment."""
    reason: str = ""
    result_digest: str | None = None
    """Digest of the recorded result that the verdict stands on."""


class Evidence(Record):
    """All that the gates look at. A decision is a pure function of this and the policy."""

    model: str
    version: str
    stage: Stage
    training_state: JobState
    artifact_present: bool
    artifact_loadable: bool
    artifact_digest: str
    signed: bool
    metrics_recorded: bool
    strategy: Strategy
    report_digest: str | None
    report: ValidationReport | None
    readiness: Readiness | None
    approvals: list[ApprovalRecord] = Field(default_factory=list)
    trial: Trial | None = None
    """None where no experiment was asked for."""
    champion: str | None = None
    """The version that serves now, which a promotion would replace."""
    trained_by: str | None = None
    """Identity that started the training; None in what was recorded before this was."""
    tainted: str | None = None
    """What was erased since of what it learned, where the policy lets no such version be promoted."""


class Decision(Record):
    """What the gates said of one version, with all its evidence."""

    model: str
    version: str
    verdict: Verdict
    target: Stage
    """The stage that the version is in once the decision is carried out."""
    gates: list[GateResult]
    evidence_digest: str
    replaced: str | None = None
    reason: str
    policy: dict[str, Any] = Field(default_factory=dict)
    """The promotion policy that it was decided by."""
    code_version: str = ""
    """Of the Ratchet that decided. Both are empty in what was recorded before they were."""
    rules: str = ""
    """sha256 of the code that decided (`tasks.promotion`); empty where that was not recorded yet."""
    seal: str = ""
    """The signature of the installation that decided (`registry.trust.decisions`)."""


class StageChange(Record):
    """One line of a version's history. History only grows."""

    sequence: int
    time: str
    model: str
    version: str
    action: str
    """train, validate, stage, approve, challenge, withdraw, promote, archive, rollback, quarantine, release, reject."""
    before: Stage | None
    after: Stage | None
    by: str
    reason: str = ""
    run_id: str | None = None
    evidence_digest: str | None = None


class ModelVersion(Record):
    """A registered model version as the registry knows it."""

    name: str
    version: str
    stage: Stage
    aliases: list[str] = Field(default_factory=list)
    run_id: str
    model_id: str
    dataset: str | None = None
    dataset_digest: str | None = None
    artifact_digest: str | None = None
    code_digest: str | None = None
    """Of what MLflow loads beside the artifact; None for a version from before it was recorded."""
    recommendation: Recommendation | None = None
    readiness: float | None = None
    decision: str | None = None
    strategy: Strategy | None = None
    created: str | None = None
