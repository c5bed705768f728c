"""What a transition does, decided before anything is done: pure functions from the registry's state to effects.

The rules of the registry are here and nowhere else:

- development → staging and staging → production only with a decision whose gates all say so;
- one champion at most, and the one that it replaces is archived in the same transition;
- quarantine from anywhere; out of it only by a release, back to development;
- a rollback restores the previous champion, or a named earlier one, never one that was in quarantine since.

Effects are plain data, written down as an intent before the first is carried out. Each can be carried out again.
"""

from __future__ import annotations

from typing import Literal

from registry.errors import PromotionError
from registry.models import CHALLENGER, CHAMPION, STAGING
from registry.records import Decision, ModelVersion, Record, Stage
from registry.situation import Situation, champions, trusted

LONGEST_TAG = 5000
_PASSED: dict[str, frozenset[str]] = {
    "staging": frozenset({"staged", "pending_approval", "promoted"}),
    "production": frozenset({"promoted"}),
}


class Effect(Record):
    """One step of a transition, which leaves the same state however often it is taken."""

    kind: Literal["tag", "untag", "alias", "unalias", "history"]
    version: str
    name: str = ""
    """Tag, alias, or action of the line of history."""
    value: str = ""
    """The tag's value; of a line of history the reason."""
    before: Stage | None = None
    after: Stage | None = None
    evidence_digest: str | None = None


# --- one function a transition -------------------------------------------------------------------------------------


def stage_candidate(situation: Situation, decision: Decision) -> list[Effect]:
    """Development → staging. Where it is in staging already, the new decision is noted; a champion stays one.

    Raises:
        PromotionError: E7524 it is in another stage, E7525 the decision does not allow it.
    """
    version = situation.version(decision.version)
    _allowed(decision, "staging")
    if version.stage == decision.target == "production":
        return []
    if version.stage == "staging":
        done = situation.recorded(version.version, "stage", decision.evidence_digest) and STAGING in version.aliases
        return [] if done else [*_decided(decision), Effect(kind="alias", version=version.version, name=STAGING)]
    _from(version, "development", "staging")
    return [
        *_decided(decision),
        _tag(version, "stage", "staging"),
        Effect(kind="alias", version=version.version, name=STAGING),
        _line(version, "stage", "staging", decision.reason, decision.evidence_digest),
    ]


def promote(situation: Situation, decision: Decision) -> list[Effect]:
    """Staging → production; the champion that it replaces is archived. Nothing to do where it is champion already.

    The order keeps the alias on a version in production at every moment, so that serving never fails meanwhile.

    Raises:
        PromotionError: E7524 not in staging, E7525 the decision does not allow it, E7526 another champion since.
    """
    version, champion = situation.version(decision.version), situation.champion
    _allowed(decision, "production")
    if champion is not None and champion.version == version.version and version.stage == "production":
        return []
    _from(version, "staging", "production")
    serving = champion.version if champion else None
    if decision.replaced != serving:
        raise PromotionError(
            "E7526",
            f"{version.name} version {version.version} was compared with version {decision.replaced or 'none'}, "
            f"but the champion is now {f'version {serving}' if serving else 'none'}",
            "run the main job again, so that it is compared with that one",
        )
    effects = [*_decided(decision), _tag(version, "stage", "production")]
    if champion is not None:
        effects.append(_tag(version, "replaced", champion.version))
    effects.append(Effect(kind="alias", version=version.version, name=CHAMPION))
    effects += _unaliased(version, STAGING, CHALLENGER)
    effects.append(_line(version, "promote", "production", decision.reason, decision.evidence_digest))
    if champion is not None:
        effects += _archived(champion, f"replaced by version {version.version}", version.version)
    return effects


def challenge(situation: Situation, number: str, reason: str) -> list[Effect]:
    """Let a version in staging (or a shadow in development) be tried beside the champion: it gets the alias.

    Raises:
        PromotionError: E7524 it is in another stage.
    """
    version = situation.version(number)
    if version.stage not in {"staging", "development"}:
        raise _wrong_stage(version, "tried beside the champion", "staging or development")
    if CHALLENGER in version.aliases:
        return []
    return [
        Effect(kind="alias", version=number, name=CHALLENGER),
        _line(version, "challenge", version.stage, reason),
    ]


def withdraw(situation: Situation, number: str, reason: str) -> list[Effect]:
    """Take the alias of a challenger back; it stays in its stage."""
    version = situation.version(number)
    if CHALLENGER not in version.aliases:
        return []
    return [*_unaliased(version, CHALLENGER), _line(version, "withdraw", version.stage, reason)]


def reject(situation: Situation, decision: Decision) -> list[Effect]:
    """Development or staging → where the decision sends it: archived, development, or where it is.

    Raises:
        PromotionError: E7524 it serves or is in quarantine, E7525 the decision is another one.
    """
    version, target = situation.version(decision.version), decision.target
    if decision.verdict != "rejected" or target not in {"archived", "development", version.stage}:
        raise _refused(decision, target)
    if situation.recorded(version.version, "reject", decision.evidence_digest) and version.stage == target:
        return []
    if version.stage not in {"development", "staging"}:
        raise _wrong_stage(version, "rejected", "development or staging")
    moves = [_tag(version, "stage", target), *_unaliased(version, STAGING, CHALLENGER)]
    return [
        *_decided(decision),
        *(moves if version.stage != target else []),
        _line(version, "reject", target, decision.reason, decision.evidence_digest),
    ]


def archive(situation: Situation, number: str, reason: str) -> list[Effect]:
    """Development or staging → archived: a candidate that nobody wants any more.

    Raises:
        PromotionError: E7524 it serves or is in quarantine.
    """
    version = situation.version(number)
    if version.stage == "archived":
        return []
    if version.stage not in {"development", "staging"}:
        raise _wrong_stage(version, "archived", "development or staging")
    return _archived(version, reason)


def quarantine(situation: Situation, number: str, reason: str, decision: Decision | None = None) -> list[Effect]:
    """Any stage → quarantine. The tag comes first: from then on it cannot be loaded.

    After a champion's quarantine nobody serves until a rollback or a promotion.
    """
    version = situation.version(number)
    if version.stage == "quarantine":
        return []
    return [
        _tag(version, "stage", "quarantine"),
        *_unaliased(version, CHAMPION, CHALLENGER, STAGING),
        *(_decided(decision) if decision else []),
        _tag(version, "quarantine_reason", reason),
        _line(version, "quarantine", "quarantine", reason, decision.evidence_digest if decision else None),
    ]


def release(situation: Situation, number: str, reason: str) -> list[Effect]:
    """Quarantine → development, where it starts again: what was approved or decided before does not count.

    Raises:
        PromotionError: E7524 it is not in quarantine.
    """
    version = situation.version(number)
    if version.stage != "quarantine":
        raise _wrong_stage(version, "released", "quarantine")
    return [
        _tag(version, "stage", "development"),
        Effect(kind="untag", version=number, name="quarantine_reason"),
        Effect(kind="untag", version=number, name="decision"),
        _line(version, "release", "development", reason),
    ]


def rollback(situation: Situation, to: str | None, reason: str) -> list[Effect]:
    """Restore the previous champion, or the earlier champion `to`; the one that serves is archived.

    Raises:
        PromotionError: E7522 no such version, E7527 there is no earlier champion, E7528 it cannot be restored.
    """
    champion = situation.champion
    target = situation.version(to if to is not None else _previous(situation))
    if champion is not None and champion.version == target.version:
        raise PromotionError(
            "E7528", f"{target.name} version {target.version} is the champion already", "name another with --to"
        )
    candidates = [name for name in trusted(situation.history) if champion is None or name != champion.version]
    if target.version not in candidates or target.stage == "quarantine":
        why = "is in quarantine" if target.stage == "quarantine" else "never served, or was in quarantine since"
        raise PromotionError(
            "E7528",
            f"{target.name} version {target.version} cannot be restored: it {why}",
            f"name one of these with --to: {', '.join(candidates)}" if candidates else "there is no other to restore",
        )
    effects = [
        _tag(target, "stage", "production"),
        Effect(kind="alias", version=target.version, name=CHAMPION),
        Effect(kind="untag", version=target.version, name="replaced_by"),
        _line(target, "rollback", "production", reason),
    ]
    if champion is not None:
        effects += _archived(champion, f"rolled back to version {target.version}: {reason}", target.version)
    return effects


def _previous(situation: Situation) -> str:
    line = champions(situation.history)
    if situation.champion is not None and line[-1:] == [situation.champion.version]:
        line = line[:-1]
    if not line:
        raise PromotionError(
            "E7527",
            f"{situation.model} has no earlier champion to go back to",
            f"see `ratchet history {situation.model}`; promote a version first",
        )
    return line[-1]


# --- parts ---------------------------------------------------------------------------------------------------------


def _tag(version: ModelVersion, name: str, value: str) -> Effect:
    return Effect(kind="tag", version=version.version, name=name, value=value[:LONGEST_TAG])


def _unaliased(version: ModelVersion, *aliases: str) -> list[Effect]:
    return [Effect(kind="unalias", version=version.version, name=a) for a in aliases if a in version.aliases]


def _line(version: ModelVersion, action: str, after: Stage, reason: str, digest: str | None = None) -> Effect:
    return Effect(
        kind="history",
        version=version.version,
        name=action,
        value=reason,
        before=version.stage,
        after=after,
        evidence_digest=digest,
    )


def _archived(version: ModelVersion, reason: str, by: str | None = None) -> list[Effect]:
    effects = [_tag(version, "stage", "archived"), *_unaliased(version, STAGING, CHALLENGER)]
    if by is not None:
        effects.append(_tag(version, "replaced_by", by))
    return [*effects, _line(version, "archive", "archived", reason)]


def _decided(decision: Decision) -> list[Effect]:
    tags = {
        "decision": decision.verdict,
        "decision_reason": decision.reason[:LONGEST_TAG],
        "evidence_digest": decision.evidence_digest,
    }
    return [Effect(kind="tag", version=decision.version, name=name, value=value) for name, value in tags.items()]


def _from(version: ModelVersion, stage: Stage, to: Stage) -> None:
    if version.stage != stage:
        raise _wrong_stage(version, f"moved to {to}", stage)


def _wrong_stage(version: ModelVersion, what: str, needed: str) -> PromotionError:
    todo = f"only a version in {needed} can be; see `ratchet history {version.name}`"
    if version.stage == "quarantine":
        todo = "release it first, on purpose; it then starts again in development"
    return PromotionError(
        "E7524", f"{version.name} version {version.version} is in {version.stage} and cannot be {what}", todo
    )


def _allowed(decision: Decision, target: Literal["staging", "production"]) -> None:
    if decision.verdict not in _PASSED[target]:
        raise _refused(decision, target)
    if target == "production" and (
        not decision.gates or any(gate.status != "PASS" for gate in decision.gates) or decision.target != "production"
    ):
        raise _refused(decision, target)


def _refused(decision: Decision, target: str) -> PromotionError:
    open_gates = [f"{gate.name} {gate.status}" for gate in decision.gates if gate.status != "PASS"]
    gates = f" ({', '.join(open_gates)})" if open_gates else ""
    return PromotionError(
        "E7525",
        f"the decision on {decision.model} version {decision.version} is {decision.verdict}, not to {target}{gates}",
        "see its gates with `ratchet show`, and put right what they name",
    )
