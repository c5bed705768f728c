"""Approve a version: a durable record, then the promotion, which looks at all gates again."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.promotion import approve_and_promote
from flows.settings import load_settings


@flow(name="approve", flow_run_name="approve {model}/{version} by {by}", log_prints=False)
def approve(
    model: str, version: str, by: str, note: str = "", signed: str | None = None, home: str | None = None
) -> dict[str, Any]:
    """Record an approval and promote the version if every gate passes now.

    Args:
        model: Name of the model.
        version: The version that waits for approval.
        by: Who approves; recorded for ever.
        note: Why.
        signed: The approval itself, where somebody signed it with a key of their own (`ratchet approve --sign-only`).
            Without it, it is signed with the key that the worker's home holds for this name.
        home: Ratchet's home, where it is not the worker's default.

    Returns:
        {"model", "version", "decision", "reason", "gates", "stage", "aliases", "replaced"}.

    Raises:
        PromotionError: E7522 no such version, E7524 it does not wait for approval, E7541 to E7545 this approval cannot
            count.
        SettingsError: E789x the key cannot be used, or not in this name.
        IntegrityError: E794x what was signed does not count.
    """
    from tasks.reporting.task import show_gates

    summary = approve_and_promote(load_settings(home=home), model, version, by, note, signed=signed)
    show_gates(model, version, summary["decision"], summary["gates"])
    return summary
