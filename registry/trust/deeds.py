"""What a bundle says of a transition: pure functions from its effects and the decision behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from registry.effects import Effect
from registry.records import Decision, Evidence


class Deed(NamedTuple):
    """What a transition does, as it is signed."""

    version: str
    """The version that it is about."""
    action: str
    facts: dict[str, Any]


def deed(body: Mapping[str, Any], planned: Sequence[Effect], evidence: Evidence | None) -> Deed | None:
    """Return what is to be signed of a transition; None where it moves nothing and decides nothing.

    Args:
        body: The intent's body: `by`, `run_id`, `decision`.
        planned: Its effects.
        evidence: What the decision stood on.
    """
    aliases: dict[str, str | None] = {each.name: None for each in planned if each.kind == "unalias"}
    aliases |= {each.name: each.version for each in planned if each.kind == "alias"}
    stages = {each.version: each.value for each in planned if each.kind == "tag" and each.name == "stage"}
    decision = None if body.get("decision") is None else Decision.model_validate(body["decision"])
    if not (aliases or stages or decision):
        return None
    line = next((each for each in planned if each.kind == "history"), None)
    facts = {
        "by": body["by"],
        "run_id": body["run_id"],
        "reason": line.value if line else decision.reason if decision else "",
        "aliases": aliases,
        "stages": stages,
        "decision": None if decision is None else _decided(decision, evidence),
    }
    return Deed(planned[0].version, line.name if line else "stage", facts)


def _decided(decision: Decision, evidence: Evidence | None) -> dict[str, Any]:
    """Return the decision with the numbers that it stood on."""
    said: dict[str, Any] = {
        "verdict": decision.verdict,
        "target": decision.target,
        "reason": decision.reason,
        "gates": [gate.model_dump(mode="json") for gate in decision.gates],
        "replaced": decision.replaced,
        "evidence_digest": decision.evidence_digest,
    }
    if evidence is not None:
        stages = evidence.report.stages if evidence.report is not None else []
        kept = {"name", "status", "critical", "metrics", "thresholds", "counts"}
        said |= {
            "report_digest": evidence.report_digest,
            "validation": [json.loads(stage.model_dump_json(include=kept)) for stage in stages],
            "readiness": None if evidence.readiness is None else json.loads(evidence.readiness.model_dump_json()),
            "approvals": [approval.model_dump(mode="json") for approval in evidence.approvals],
        }
    return said
