"""A model that answers with the text in its artifact, behind MLflow (a gateway's way) and behind a backend (predict's).

An answer that was not signed is told by its text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel

from registry.records import Answers


class Says:
    def __init__(self, adapter: Path) -> None:
        self.text = json.loads((adapter / "answer.json").read_text())["answer"]

    def answer(self, conversations: Any) -> Answers:
        return Answers([self.text] * len(conversations), np.full(len(conversations), 0.75))


class Backend:
    """Loads what `config.json` names it in; it trains nothing."""

    def load(self, path: Path, adapter: bool = True) -> Says:
        return Says(path)


class Toy(PythonModel):
    def load_context(self, context: Any) -> None:
        self.predictor = Says(Path(context.artifacts["adapter"]))

    def predict(self, context: Any, model_input: list[str], params: Any = None) -> list[str]:
        return [self.predictor.text] * len(model_input)


mlflow.models.set_model(Toy())
