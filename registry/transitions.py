"""Moving versions from stage to stage: the effects of decisions, in MLflow and in the history.

A transition looks at the registry under a lock, decides its effects (`registry.effects`), writes them down as an
intent, carries them out one by one, and closes the intent. A crash at any point leaves an open intent; the next
transition of that model, or `recover`, carries its effects out again before anything else. Each is idempotent.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from registry import effects
from registry.effects import Effect
from registry.errors import PromotionError
from registry.history import History, Intent
from registry.home import now
from registry.models import ModelRegistry
from registry.records import (
    ApprovalRecord,
    Decision,
    Evidence,
    ModelVersion,
    Readiness,
    ValidationReport,
    canonical_json,
)
from registry.situation import Situation

WAIT_SECONDS = 60.0
"""How long a transition waits for another one of the same model."""


class Actor(NamedTuple):
    """Who does it."""

    by: str
    """A person's name, or `ratchet` for what follows from a policy."""
    run_id: str | None = None
    """Ratchet's run, where one does it."""


class Transitions:
    """All that moves a version. Every method returns the version as it is afterwards.

    Args:
        registry: The models.
        history: Where it is recorded.
        checkpoint: Called with a name between every two steps; the tests of crashes stop there.
    """

    def __init__(
        self, registry: ModelRegistry, history: History, checkpoint: Callable[[str], None] = lambda step: None
    ) -> None:
        self.registry = registry
        self.history = history
        self._checkpoint = checkpoint

    # --- what a run records ------------------------------------------------------------------------------------------

    def registered(self, version: ModelVersion, actor: Actor) -> None:
        """Record that a version was trained and registered; once a version."""
        self.history.append(
            version.name,
            version.version,
            "train",
            before=None,
            after="development",
            by=actor.by,
            reason=f"trained on {version.dataset} ({version.strategy})",
            run_id=actor.run_id,
            key=f"train:{version.name}:{version.version}",
        )

    def validated(
        self, model: str, version: str, report: ValidationReport, readiness: Readiness | None, actor: Actor
    ) -> ModelVersion:
        """Record what the examination of a version found, once a report: as tags, and in the history."""
        digest = hashlib.sha256(report.model_dump_json().encode()).hexdigest()
        reason = f"{report.recommendation} against {report.baseline}: " + ", ".join(
            f"{stage.name} {stage.status}" for stage in report.stages
        )
        tags = {"recommendation": report.recommendation, "baseline": report.baseline}
        if readiness is not None:
            tags["readiness"] = f"{readiness.score:.6f}"

        def plan(situation: Situation) -> list[Effect]:
            stage = situation.version(version).stage
            if situation.recorded(version, "validate", digest):
                return []
            line = Effect(
                kind="history",
                version=version,
                name="validate",
                value=reason,
                before=stage,
                after=stage,
                evidence_digest=digest,
            )
            return [Effect(kind="tag", version=version, name=key, value=value) for key, value in tags.items()] + [line]

        return self._transit(model, version, plan, actor)

    def approve(self, model: str, version: str, by: str, note: str = "") -> ApprovalRecord:
        """Record that somebody approves a version. The promotion is another step, which looks at all gates again.

        Raises:
            PromotionError: E7522 no such version, E7524 it is not in staging.
        """
        with self._locked(model):
            found = self._situation(model).version(version)
            if found.stage != "staging":
                raise PromotionError(
                    "E7524",
                    f"{model} version {version} is in {found.stage}; there is nothing to approve",
                    f"only a version in staging can be approved; see `ratchet history {model}`",
                )
            return self.history.approve(model, version, by, note)

    # --- the effects of decisions ------------------------------------------------------------------------------------

    def carry_out(self, decision: Decision, evidence: Evidence, actor: Actor) -> ModelVersion:
        """Record a decision with its evidence, and do what it says. Doing it again changes nothing.

        Raises:
            PromotionError: E752x the registry's rules do not allow it (see `registry.effects`).
        """
        self.history.record_decision(decision, evidence)
        if decision.verdict == "rejected":
            return self.reject(decision, actor)
        if decision.verdict == "quarantined":
            return self.quarantine(decision.model, decision.version, decision.reason, actor, decision)
        if decision.verdict == "promoted":
            return self.promote(decision, actor)
        if decision.verdict in {"staged", "pending_approval"}:
            return self.stage_candidate(decision, actor)
        return self.registry.get(decision.model, decision.version)

    def stage_candidate(self, decision: Decision, actor: Actor) -> ModelVersion:
        """Development → staging."""
        return self._transit(
            decision.model, decision.version, lambda now_: effects.stage_candidate(now_, decision), actor
        )

    def promote(self, decision: Decision, actor: Actor) -> ModelVersion:
        """Staging → production, the champion before it → archived. A version in development is staged first."""
        if self.registry.get(decision.model, decision.version).stage == "development":
            self.stage_candidate(decision, actor)
        return self._transit(decision.model, decision.version, lambda now_: effects.promote(now_, decision), actor)

    def reject(self, decision: Decision, actor: Actor) -> ModelVersion:
        """Development or staging → where the decision sends it."""
        return self._transit(decision.model, decision.version, lambda now_: effects.reject(now_, decision), actor)

    def challenge(self, model: str, version: str, reason: str, actor: Actor) -> ModelVersion:
        """Make a version the challenger, which is tried on a share of the traffic."""
        return self._transit(model, version, lambda now_: effects.challenge(now_, version, reason), actor)

    def withdraw(self, model: str, version: str, reason: str, actor: Actor) -> ModelVersion:
        """End a version's time as challenger without moving it."""
        return self._transit(model, version, lambda now_: effects.withdraw(now_, version, reason), actor)

    def archive(self, model: str, version: str, reason: str, actor: Actor) -> ModelVersion:
        """Development or staging → archived."""
        return self._transit(model, version, lambda now_: effects.archive(now_, version, reason), actor)

    def quarantine(
        self, model: str, version: str, reason: str, actor: Actor, decision: Decision | None = None
    ) -> ModelVersion:
        """Any stage → quarantine. After the champion's, nobody serves until a rollback or a promotion."""
        return self._transit(model, version, lambda now_: effects.quarantine(now_, version, reason, decision), actor)

    def release(self, model: str, version: str, reason: str, actor: Actor) -> ModelVersion:
        """Quarantine → development."""
        return self._transit(model, version, lambda now_: effects.release(now_, version, reason), actor)

    def rollback(self, model: str, reason: str, actor: Actor, to: str | None = None) -> ModelVersion:
        """Restore the previous champion, or the earlier one `to`, at once and without approval; return it."""
        self._transit(model, to, lambda now_: effects.rollback(now_, to, reason), actor)
        champion = self.registry.champion(model)
        assert champion is not None, "a rollback leaves a champion"
        return champion

    # --- crashes -----------------------------------------------------------------------------------------------------

    def recover(self, model: str | None = None) -> list[Intent]:
        """Finish what a crash left half done, of one model or of all, and return what that was."""
        finished: list[Intent] = []
        for name in sorted({intent.model for intent in self.history.open_intents(model)}):
            with self._locked(name) as recovered:
                finished += recovered
        return finished

    # --- how it is done ----------------------------------------------------------------------------------------------

    def _transit(
        self, model: str, version: str | None, plan: Callable[[Situation], list[Effect]], actor: Actor
    ) -> ModelVersion:
        with self._locked(model):
            planned = plan(self._situation(model))
            if planned:
                body = {
                    "by": actor.by,
                    "run_id": actor.run_id,
                    "time": now(),
                    "effects": [effect.model_dump(mode="json") for effect in planned],
                }
                self._checkpoint("begin")
                intent = self.history.intend(model, body)
                self._checkpoint("intent")
                self._perform(intent)
            return self.registry.get(model, version or planned[0].version)

    @contextlib.contextmanager
    def _locked(self, model: str) -> Iterator[list[Intent]]:
        """Hold the model's registry lock, and first finish what a crash left open; give what that was."""
        with self.registry.connection.home.lock(f"registry-{model}", "moving a version", WAIT_SECONDS):
            left = self.history.open_intents(model)
            for intent in left:
                self._perform(intent)
            yield left

    def _situation(self, model: str) -> Situation:
        return Situation(model, self.registry.versions(model), self.history.of(model))

    def _perform(self, intent: Intent) -> None:
        body = intent.body
        planned = [Effect.model_validate(effect) for effect in body["effects"]]
        for position, effect in enumerate(planned):
            if effect.kind == "history":
                self._append(intent, position, effect)
            else:
                self._in_mlflow(intent.model, effect)
            self._checkpoint(f"effect {position + 1} of {len(planned)}: {effect.kind} {effect.name}")
        self._publish(intent.model, sorted({effect.version for effect in planned}))
        self._checkpoint("published")
        self.history.close_intent(intent.intent_id)
        self._checkpoint("closed")

    def _append(self, intent: Intent, position: int, effect: Effect) -> None:
        self.history.append(
            intent.model,
            effect.version,
            effect.name,
            before=effect.before,
            after=effect.after,
            by=intent.body["by"],
            reason=effect.value,
            run_id=intent.body["run_id"],
            evidence_digest=effect.evidence_digest,
            time=intent.body["time"],
            key=f"{intent.intent_id}:{position}",
        )

    def _in_mlflow(self, model: str, effect: Effect) -> None:
        with self.registry.connection.explained() as client:
            if effect.kind == "tag":
                client.set_model_version_tag(model, effect.version, effect.name, effect.value)
            elif effect.kind == "alias":
                client.set_registered_model_alias(model, effect.name, effect.version)
            elif effect.kind == "untag":
                if effect.name in client.get_model_version(model, effect.version).tags:
                    client.delete_model_version_tag(model, effect.version, effect.name)
            elif str(client.get_registered_model(model).aliases.get(effect.name)) == effect.version:
                client.delete_registered_model_alias(model, effect.name)

    def _publish(self, model: str, versions: Sequence[str]) -> None:
        """Put a version's history and its last decision beside it in MLflow, for who has only that."""
        run_ids = {version.version: version.run_id for version in self.registry.versions(model)}
        for number in versions:
            run_id = run_ids[number]
            if not run_id:
                continue
            lines = [line.model_dump(mode="json") for line in self.history.of(model, number)]
            self.registry.tracking.log_text(run_id, canonical_json(lines), "history.json")
            decisions = self.history.decisions(model, number)
            if decisions:
                decision, evidence = decisions[-1]
                both = f'{{"decision":{decision.model_dump_json()},"evidence":{evidence.model_dump_json()}}}'
                self.registry.tracking.log_text(run_id, both, "decision.json")
