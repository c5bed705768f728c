"""The inference code inside a model artifact, as MLflow loads it (models from code): no pickle.

Input: a list of rows, or a pandas DataFrame, with `messages` (a list of chat messages, or its JSON text) or `prompt` (a
text). Output: a DataFrame with `response` and `confidence`, a row for each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import set_model

from registry.errors import TrainingError
from registry.records import Conversation, Predictor

ARTIFACT = "adapter"
"""The name that the adapter's folder is logged under."""


class Answering:
    """What the model does when MLflow asks it."""

    predictor: Predictor

    def load_context(self, context: Any) -> None:
        """Load the adapter from the model's artifacts with the backend that made it."""
        from tasks.training.backend import load_trained

        self.predictor = load_trained(Path(context.artifacts[ARTIFACT]))

    def predict(self, context: Any, model_input, params: dict[str, Any] | None = None):  # type: ignore[no-untyped-def]
        """Answer each row; `params={"batch_size": n}` bounds how many are answered at once."""
        rows = conversations(model_input)
        size = int((params or {}).get("batch_size") or len(rows) or 1)
        parts = [self.predictor.answer(rows[start : start + size]) for start in range(0, len(rows), size)]
        return pd.DataFrame(
            {
                "response": [response for part in parts for response in part.responses],
                "confidence": [float(value) for part in parts for value in part.confidences],
            }
        )


class RatchetModel(Answering, mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # MLflow is not typed
    """A Ratchet adapter behind MLflow's interface.

    MLflow makes a schema of the type hint on `predict`'s input. It has none for rows of two forms, and would warn at
    every save of a hint that it cannot use, at every load of a class whose own `predict` lacks one. So `predict` has no
    hint there, and is inherited.
    """


def conversations(model_input: Any) -> list[Conversation]:
    """Return the conversations of a DataFrame, one row or a list of rows.

    Raises:
        TrainingError: E7330 when a row has neither `messages` nor `prompt`.
    """
    if hasattr(model_input, "to_dict") and hasattr(model_input, "columns"):
        model_input = model_input.to_dict(orient="records")
    rows = model_input if isinstance(model_input, list) else [model_input]
    return [_conversation(number, row) for number, row in enumerate(rows)]


def _conversation(number: int, row: Any) -> Conversation:
    messages = row.get("messages") if isinstance(row, dict) else row
    if isinstance(messages, str) and isinstance(row, dict):
        try:
            messages = json.loads(messages)
        except ValueError:
            messages = None
    if isinstance(messages, np.ndarray):
        messages = messages.tolist()
    if isinstance(messages, list) and all(isinstance(message, dict) for message in messages):
        return messages
    prompt = row.get("prompt") if isinstance(row, dict) else row
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    raise TrainingError(
        "E7330",
        f"row {number} has neither a conversation nor a prompt",
        'give rows such as {"prompt": "…"} or {"messages": [{"role": "user", "content": "…"}]}',
    )


set_model(RatchetModel())
