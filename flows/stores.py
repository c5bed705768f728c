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
    from registry.events import EventLog
    from registry.experiments import Experiments
    from registry.models import ModelRegistry
    from registry.transitions import Transitions


@dataclass(frozen=True)
class Stores:
    """The stores of one home. MLflow is opened when it is first asked for: it takes a second to import."""

    settings: Settings
    home: Home

    @cached_property
    def datasets(self) -> DatasetStore:
        """The dataset versions."""
        return DatasetStore(self.home.datasets)

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
    def transitions(self) -> Transitions:
        """Stage changes, with their effects in MLflow."""
        from registry.transitions import Transitions

        return Transitions(self.models, self.history)


def open_stores(settings: Settings) -> Stores:
    """Open the stores of the home that the settings name; make the home where there is none."""
    return Stores(settings, Home(settings.home).create())
