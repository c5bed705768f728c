"""Carrying out what a transition set out to do: signed first, then in MLflow and in the history, one step by one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from registry.effects import Effect
from registry.errors import IntegrityError, RatchetError
from registry.history import History, Intent
from registry.models import ModelRegistry
from registry.records import canonical_json
from registry.trust.bundles import Bundles
from registry.trust.deeds import deed
from registry.trust.intents import effects_of

if TYPE_CHECKING:
    from registry.audit.seals import Seals


class Performer:
    """Carries out intents.

    Args:
        registry: The models.
        history: Where it is recorded.
        bundles: Where it is signed.
        seals: Where it is said how far the audit log has come; None for nowhere.
        reached: Called with a name between every two steps.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        history: History,
        bundles: Bundles,
        seals: Seals | None,
        reached: Callable[[str], None],
    ) -> None:
        self.registry = registry
        self.history = history
        self.bundles = bundles
        self.seals = seals
        self._reached = reached

    def perform(self, intent: Intent) -> None:
        """Carry an intent's effects out, all of them, however often some were before, and close it.

        One that was finished before, as a later decision shows, is closed alone: its closure was taken away.

        Raises:
            IntegrityError: E7952 nobody signed it whose signature counts: it is recorded, and closed as refused.
        """
        try:
            planned = effects_of(self.bundles.keyring.trust(), intent)
        except IntegrityError as error:
            self._refuse(intent, error)
            raise
        if self.bundles.store.superseded(intent.intent_id):
            self.history.close_intent(intent.intent_id)
            return
        self._sign(intent, planned)
        self._reached("signed")
        for position, effect in enumerate(planned):
            if effect.kind == "history":
                self._append(intent, position, effect)
            else:
                self._in_mlflow(intent.model, effect)
                self._note(intent, position, effect)
            self._reached(f"effect {position + 1} of {len(planned)}: {effect.kind} {effect.name}")
        self._publish(intent.model, sorted({effect.version for effect in planned}))
        self._reached("published")
        self.history.close_intent(intent.intent_id)
        self._reached("closed")
        if self.seals is not None:
            with contextlib.suppress(RatchetError):  # done is done; the next checkpoint is about this as well
                self.seals.write()
            self._reached("sealed")

    def _refuse(self, intent: Intent, error: IntegrityError) -> None:
        body = {"code": error.code, "problem": error.what, "time": intent.time}
        self.history.note("refused", intent.model, body, key=f"{intent.intent_id}:refused")
        self.history.close_intent(intent.intent_id, "refused")

    def _sign(self, intent: Intent, planned: Sequence[Effect]) -> None:
        """Sign what is about to be done, before anything is: no alias ever moves without a bundle that says so."""
        decision, evidence = intent.body.get("decision"), None
        if decision is not None:
            decided = self.history.decisions(intent.model, decision["version"])
            evidence = next((e for d, e in reversed(decided) if d.evidence_digest == decision["evidence_digest"]), None)
        done = deed(intent.body, planned, evidence)
        if done is not None:
            self.bundles.decide(intent.intent_id, intent.model, *done)

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

    def _note(self, intent: Intent, position: int, effect: Effect) -> None:
        """Say in the audit log what is served where from now on: whoever asks for an alias gets this version."""
        if effect.kind in {"alias", "unalias"}:
            self.history.note(
                "deploy" if effect.kind == "alias" else "undeploy",
                intent.model,
                {"alias": effect.name},
                version=effect.version,
                by=intent.body["by"],
                key=f"{intent.intent_id}:{position}:deploy",
            )

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
            signed = [json.loads(bundle.envelope) for bundle in self.bundles.of(model, number)]
            self.registry.tracking.log_text(run_id, canonical_json(signed), "bundle.json")
