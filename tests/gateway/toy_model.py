"""A model that answers with the text in `adapter/answer.json`; some texts make it fail, or take its time."""

import json
import time
from pathlib import Path

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel

from registry.records import Answers


class Predictor:
    def __init__(self, text):
        self.text = text

    def answer(self, conversations):
        asked = [messages[-1]["content"] for messages in conversations]
        if "please fail" in asked:
            raise RuntimeError("a toy that fails")
        if "slowly please" in asked:
            time.sleep(0.5)
        return Answers([self.text] * len(conversations), np.full(len(conversations), 0.75))


class Toy(PythonModel):
    def load_context(self, context):
        adapter = Path(context.artifacts["adapter"])
        self.predictor = Predictor(json.loads((adapter / "answer.json").read_text())["answer"])

    def predict(self, context, model_input: list[str], params=None):
        return [self.predictor.text] * len(model_input)


mlflow.models.set_model(Toy())
