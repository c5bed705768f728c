"""What an erasure is about to do and what it did: the plan that outlives a crash, and the signed record.

    HOME/erasures/PLAN.json     while an erasure goes on; no text of anybody is in it
    audit log, kind `erase`     one signed record an erasure, and a line for each model that saw the person

Who was erased is nowhere to be read: plan and record have a salted digest, by which whoever knows the name finds them.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import pydantic
from pydantic import Field

from registry.datasets import DatasetStore
from registry.erasure.events import LoggedOf, Person
from registry.errors import IntegrityError
from registry.files import write_whole
from registry.history import AuditNote, History
from registry.records import DatasetManifest, ModelVersion, Record, Split
from registry.tracking import dataset_name

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc

    from registry.connection import Connection
    from registry.trust.envelopes import Signer, Trust

PAYLOAD_TYPE = "application/vnd.ratchet.person-erased+json"
NOTE = "erase"
COLUMNS = ("subject_key", "session_key", "trace_key", "event_key")
"""Of a dataset, in the order of `Keys`; a dataset of 0.1 has none of them, and nobody's rows can be told there."""
TAG = "tainted"
"""Of a model version that saw somebody whose text was erased since; says what and when."""
_ODD = 0x9E3779B97F4A7C15
_BITS = (1 << 64) - 1


class ErasurePolicy(Record):
    """What follows for model versions that saw somebody who was erased."""

    tainted: Literal["warn", "block", "rollback"] = "warn"
    """warn: they are marked; block: nor can one be promoted any more; rollback: nor does one go on serving, if there
    is an earlier champion that is not tainted."""


class Keys(NamedTuple):
    """By what the rows of a dataset are known to be somebody's: 64-bit digests, as the dataset has them."""

    subjects: frozenset[int]
    sessions: frozenset[int]
    traces: frozenset[int]
    events: frozenset[int]


class Held(NamedTuple):
    """What a dataset version has of a person."""

    manifest: DatasetManifest
    rows: dict[Split, int]

    @property
    def name(self) -> str:
        """`NAME/VERSION`."""
        return dataset_name(self.manifest)


class ModelPlan(Record):
    """What becomes of a model version."""

    model: str
    version: str
    dataset: str
    before: str | None = None
    """Digest of its artifact before; None where nothing is to be taken out."""
    after: str | None = None
    turns: int = 0
    """Known turns that were changed."""
    done: bool = False


class DatasetPlan(Record):
    """What was erased from a dataset version."""

    dataset: str
    digest: str
    rows: dict[Split, int]


class Plan(Record):
    """An erasure that goes on, or that a crash ended."""

    plan: str
    """Its name."""
    salt: str
    digest: str
    """sha256 of salt, kind and value."""
    kind: str
    time: str
    by: str
    reason: str
    events: int = 0
    event_keys: list[int] = Field(default_factory=list)
    """64 bits of the digest of (source, id) of every event of theirs."""
    datasets: list[DatasetPlan] = Field(default_factory=list)
    models: list[ModelPlan] = Field(default_factory=list)
    experiments: list[str] = Field(default_factory=list)
    files: int = 0
    """Files and databases in which something was blanked or that were removed."""


def text_key(text: str) -> int:
    """Return 64 bits of the digest of a text: what datasets have in place of subjects, sessions and traces."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def event_key(source: str, identity: str) -> int:
    """Return the number that stands for an event's (source, id) in a dataset."""
    return (text_key(identity) * _ODD & _BITS) ^ text_key(source)


def keys_of(person: Person, logged: LoggedOf) -> Keys:
    """Return by what a person's rows are known; a user may be the subject or the session of who logged it so."""
    value = text_key(person.value)
    own = frozenset({value}) if person.kind != "trace" else frozenset()
    traces = {text_key(trace) for trace in logged.traces} | ({value} if person.kind == "trace" else set())
    events = frozenset(event_key(source, identity) for source, identity in logged.events)
    return Keys(own, own if person.kind == "user" else frozenset(), frozenset(traces), events)


def is_theirs(schema: pa.Schema, keys: Keys) -> pc.Expression:
    """Return which rows of a dataset of this schema are a person's, as a filter."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.scalar(False)
    for name, wanted in zip(COLUMNS, keys, strict=True):
        if wanted and name in schema.names:
            found = found | pc.field(name).isin(pa.array(sorted(wanted), pa.uint64()))
    return found


def holding(datasets: DatasetStore, keys: Keys) -> list[Held]:
    """Return the dataset versions that have rows of a person. Only the columns of keys are read."""
    import pyarrow.dataset as pads

    found = []
    for name in datasets.names():
        for number in datasets.versions(name):
            manifest = datasets.manifest(name, number)
            rows: dict[Split, int] = {}
            for file in datasets.present(manifest):
                table = pads.dataset(datasets.path(name, number) / file.path, format="parquet")
                if count := table.count_rows(filter=is_theirs(table.schema, keys)):
                    rows[file.split] = rows.get(file.split, 0) + count
            if rows:
                found.append(Held(manifest, rows))
    return found


def of_models(held: Sequence[Held], versions: Sequence[ModelVersion]) -> list[ModelVersion]:
    """Return the model versions that were made from these dataset versions."""
    names = {each.name for each in held}
    return [version for version in versions if version.dataset in names]


# --- the plan ------------------------------------------------------------------------------------------------------


def new_plan(person: Person, by: str, reason: str, time: str) -> Plan:
    """Return a plan of nothing yet."""
    salt = secrets.token_hex(16)
    return Plan(
        plan=secrets.token_hex(8), salt=salt, digest=salted(person, salt), kind=person.kind, time=time, by=by,
        reason=reason,
    )  # fmt: skip


def salted(person: Person, salt: str) -> str:
    """Return the digest that stands for a person under a salt."""
    return hashlib.sha256(f"{salt}\x1f{person.kind}\x1f{person.value}".encode()).hexdigest()


def open_plans(folder: Path) -> list[Plan]:
    """Return the erasures that somebody began and nobody ended, oldest first.

    Raises:
        IntegrityError: E7981 one cannot be read.
    """
    plans = []
    for path in sorted(folder.glob("*.json")):
        try:
            plans.append(Plan.model_validate_json(path.read_bytes()))
        except pydantic.ValidationError as error:
            raise IntegrityError(
                "E7981", f"the plan {path} of an erasure is damaged", "remove it, and erase again by the same name"
            ) from error
    return sorted(plans, key=lambda plan: plan.time)


def begun(folder: Path, person: Person) -> Plan | None:
    """Return the erasure of a person that a crash ended; None where there is none."""
    return next((plan for plan in open_plans(folder) if plan.digest == salted(person, plan.salt)), None)


def keep(folder: Path, plan: Plan) -> Plan:
    """Write a plan down, and return it."""
    write_whole(folder / f"{plan.plan}.json", plan.model_dump_json().encode())
    return plan


# --- the record ----------------------------------------------------------------------------------------------------


def record(history: History, plan: Plan, signer: Signer) -> AuditNote:
    """Sign what was done and append it to the audit log; the same plan gives one record."""
    envelope = signer.sign(plan.model_dump(mode="json"), PAYLOAD_TYPE)
    said = f"a {plan.kind} in {plan.events:,} events, {len(plan.datasets)} datasets and {len(plan.models)} models"
    body = {"reason": f"{said}: {plan.reason}", "plan": plan.plan, "envelope": envelope}
    return history.note(NOTE, "", body, by=plan.by, key=f"{NOTE}:{plan.plan}")


def records(history: History, trust: Trust) -> list[Plan]:
    """Return the erasures that were ended, oldest first.

    Raises:
        IntegrityError: E794x nobody signed one whose signature counts.
    """
    return [
        Plan.model_validate(trust.opened(note.body["envelope"], PAYLOAD_TYPE).payload)
        for note in history.notes(NOTE, "")
        if "envelope" in note.body
    ]


def tainted(connection: Connection, version: ModelVersion) -> str | None:
    """Return what is said of a version that saw somebody who was erased; None of any other."""
    with connection.explained() as client:
        said = client.get_model_version(version.name, version.version).tags.get(TAG)
    return None if said is None else str(said)


def forgotten(history: History, trust: Trust) -> list[int]:
    """Return the keys of all events that were erased, sorted, as datasets have them: they are not learned again.

    Raises:
        IntegrityError: E794x nobody signed a record whose signature counts.
    """
    return sorted({key for plan in records(history, trust) for key in plan.event_keys})
