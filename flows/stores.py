"""Everything that is kept, opened together: datasets, history, event log, experiments, MLflow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from flows.settings import Settings
from registry.datasets import DatasetStore
from registry.history import History
from registry.home import Home

if TYPE_CHECKING:
    from registry.audit.log import AuditLog
    from registry.audit.seals import Seals
    from registry.events import EventLog
    from registry.experiments import Experiments
    from registry.models import ModelRegistry
    from registry.serving import Serving
    from registry.transitions import Transitions
    from registry.trust.bundles import Bundles
    from registry.trust.signing import Keyring


@dataclass(frozen=True)
class Stores:
    """The stores of one home. MLflow is opened when it is first asked for: it takes a second to import."""

    settings: Settings
    home: Home

    @cached_property
    def datasets(self) -> DatasetStore:
        """The dataset versions."""
        return DatasetStore(self.home.datasets, lambda: self.keyring.trust())

    @cached_property
    def history(self) -> History:
        """Stage history, decisions, approvals, intents and the run ledger."""
        return History(self.settings.records_url)

    @cached_property
    def events(self) -> EventLog:
        """The event log."""
        from registry.events import EventLog

        return EventLog(self.settings.records_url)

    @cached_property
    def experiments(self) -> Experiments:
        """The experiments there were and are."""
        from registry.experiments import Experiments

        return Experiments(self.settings.records_url)

    @cached_property
    def models(self) -> ModelRegistry:
        """The registered models."""
        from flows.templates import mlflow_template
        from registry.connection import connect
        from registry.models import ModelRegistry

        connection = connect(
            self.home,
            self.settings.mlflow_uri,
            template=mlflow_template(),
            timeout=self.settings.mlflow_timeout,
        )
        return ModelRegistry(connection)

    @cached_property
    def keyring(self) -> Keyring:
        """The keys that sign here, and those whose signatures count."""
        return open_keyring(self.settings, self.home)

    @cached_property
    def bundles(self) -> Bundles:
        """The signed bundles: what was trained on what, and what was decided about it."""
        from registry.trust.bundles import Bundles

        return Bundles(self.settings.records_url, self.keyring, lambda: self.models)

    @cached_property
    def serving(self) -> Serving:
        """Versions that may be used, verified."""
        from registry.serving import Serving

        return Serving(self.models, self.bundles)

    @cached_property
    def audit(self) -> AuditLog:
        """The audit log, as a chain."""
        from registry.audit.log import AuditLog

        return AuditLog(self.settings.records_url)

    @cached_property
    def seals(self) -> Seals:
        """The signed checkpoints of the audit log."""
        from registry.audit.seals import Seals

        return Seals(self.audit, self.keyring, self.home, self.models.connection)

    @cached_property
    def transitions(self) -> Transitions:
        """Stage changes, with their effects in MLflow."""
        from registry.transitions import Transitions

        return Transitions(self.models, self.history, self.bundles, self.seals)


def open_keyring(settings: Settings, home: Home) -> Keyring:
    """Return the keys of a home, or those that the settings name."""
    from registry.trust.signing import Keyring

    own = settings.signing_key.get_secret_value() if settings.signing_key else None
    return Keyring(home.keys, own, settings.trusted_keys)


def open_stores(settings: Settings) -> Stores:
    """Open the stores of the home that the settings name; make the home where there is none."""
    return Stores(settings, Home(settings.home).create())
