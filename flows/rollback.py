"""Put an earlier champion back: one step, at once, without approval, always recorded."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.promotion import restore_champion
from flows.settings import load_settings


@flow(name="rollback", flow_run_name="rollback {model}", log_prints=False)
def rollback(model: str, by: str, reason: str, to: str | None = None, home: str | None = None) -> dict[str, Any]:
    """Make the previous champion, or the earlier one `to`, the champion again.

    Args:
        model: Name of the model.
        by: Who does it; recorded for ever.
        reason: Why; recorded for ever.
        to: Version of an earlier champion; the previous one where it is left out.
        home: Ratchet's home, where it is not the worker's default.

    Returns:
        {"model", "version", "replaced", "stage", "aliases"}.

    Raises:
        PromotionError: E752x there is no earlier champion, or it may not serve.
    """
    return restore_champion(load_settings(home=home), model, by, reason, to)
