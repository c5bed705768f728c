"""Moving versions from stage to stage: the effects of decisions, in MLflow and in the history.

A transition looks at the registry under a lock, decides its effects (`registry.effects`), writes them down as an
intent, carries them out one by one, and closes the intent. A crash at any point leaves an open intent; the next
transition of that model, or `recover`, carries its effects out again before anything else. Each is idempotent.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from registry import effects
from registry.effects import Effect
from registry.errors import PromotionError
from registry.history import History, Intent
from registry.home import now
from registry.models import ModelRegistry
from registry.performing import Performer
from registry.records import (
    ApprovalRecord,
    Decision,
    Evidence,
    ModelVersion,
    Readiness,
    ValidationReport,
)
from registry.situation import Situation
from registry.trust.bundles import Bundles
from registry.trust.intents import sealed

if TYPE_CHECKING:
    from registry.audit.seals import Seals

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
        bundles: Where it is signed.
        seals: Where it is said how far the audit log has come; None for nowhere.
        reached: Called with a name between every two steps; the tests of crashes stop there.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        history: History,
        bundles: Bundles,
        seals: Seals | None = None,
        reached: Callable[[str], None] = lambda step: None,
    ) -> None:
        self.registry = registry
        self.history = history
        self.bundles = bundles
        self._performer = Performer(registry, history, bundles, seals, reached)
        self._reached = reached

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

    def approve(self, model: str, version: str, record: Callable[[], ApprovalRecord]) -> ApprovalRecord:
        """Let `record` write down that somebody approves a version, while nobody moves it.

        The promotion is another step, which looks at all gates again.

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
            return record()

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
            decision.model, decision.version, lambda now_: effects.stage_candidate(now_, decision), actor, decision
        )

    def promote(self, decision: Decision, actor: Actor) -> ModelVersion:
        """Staging → production, the champion before it → archived. A version in development is staged first."""
        if self.registry.get(decision.model, decision.version).stage == "development":
            self.stage_candidate(decision, actor)
        return self._transit(
            decision.model, decision.version, lambda now_: effects.promote(now_, decision), actor, decision
        )

    def reject(self, decision: Decision, actor: Actor) -> ModelVersion:
        """Development or staging → where the decision sends it."""
        return self._transit(
            decision.model, decision.version, lambda now_: effects.reject(now_, decision), actor, decision
        )

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
        return self._transit(
            model, version, lambda now_: effects.quarantine(now_, version, reason, decision), actor, decision
        )

    def release(self, model: str, version: str, reason: str, actor: Actor) -> ModelVersion:
        """Quarantine → development."""
        return self._transit(model, version, lambda now_: effects.release(now_, version, reason), actor)

    def rollback(self, model: str, reason: str, actor: Actor, to: str | None = None) -> ModelVersion:
        """Restore the previous champion, or the earlier one `to`, at once and without approval; return it.

        Raises:
            PromotionError: E752x there is none, or it may not serve.
            IntegrityError: E79xx its files or its signature are not what they must be: nobody could load it.
        """

        def plan(situation: Situation) -> list[Effect]:
            planned = effects.rollback(situation, to, reason)
            target = situation.version(planned[0].version)
            if self.bundles.check(target) is not None:
                self.bundles.verified(target)
            return planned

        self._transit(model, to, plan, actor)
        champion = self.registry.champion(model)
        assert champion is not None, "a rollback leaves a champion"
        return champion

    # --- crashes -----------------------------------------------------------------------------------------------------

    def recover(self, model: str | None = None) -> list[Intent]:
        """Finish what a crash left half done, of one model or of all, and return what that was.

        Raises:
            IntegrityError: E7952 somebody else began it; it is recorded and set aside, so that it is told once.
        """
        finished: list[Intent] = []
        for name in sorted({intent.model for intent in self.history.open_intents(model)}):
            with self._locked(name) as recovered:
                finished += recovered
        return finished

    # --- how it is done ----------------------------------------------------------------------------------------------

    def _transit(
        self,
        model: str,
        version: str | None,
        plan: Callable[[Situation], list[Effect]],
        actor: Actor,
        decision: Decision | None = None,
    ) -> ModelVersion:
        with self._locked(model):
            planned = plan(self._situation(model))
            if planned:
                signer = self.bundles.keyring.own()  # without a key that counts nothing is begun
                intent_id = uuid.uuid4().hex
                body = {
                    "by": actor.by,
                    "run_id": actor.run_id,
                    "time": now(),
                    "effects": [effect.model_dump(mode="json") for effect in planned],
                    "decision": None if decision is None else decision.model_dump(mode="json"),
                }
                self._reached("begin")
                intent = self.history.intend(model, sealed(signer, intent_id, model, body), intent_id)
                self._reached("intent")
                self._performer.perform(intent)
            return self.registry.get(model, version or planned[0].version)

    @contextlib.contextmanager
    def _locked(self, model: str) -> Iterator[list[Intent]]:
        """Hold the model's registry lock, and first finish what a crash left open; give what that was."""
        with self.registry.connection.home.lock(f"registry-{model}", "moving a version", WAIT_SECONDS):
            left = self.history.open_intents(model)
            for intent in left:
                self._performer.perform(intent)
            yield left

    def _situation(self, model: str) -> Situation:
        return Situation(model, self.registry.versions(model), self.history.of(model))
