"""The default backend, from a table to answers."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from threadpoolctl import threadpool_limits

from registry.errors import IntegrityError, TrainingError
from registry.records import Conversation, assistant_turns, token_f1_pairs
from tasks.training.artifact import artifact_digest
from tasks.training.backend import TrainingData
from tasks.training.job import run_job
from tasks.training.policy import TrainingPolicy
from tasks.training.serving import load_predictor
from tasks.training.simulated import SimulatedBackend

Toys = Callable[..., list[Conversation]]
Table = Callable[[list[Conversation]], pa.Table]
BACKEND = SimulatedBackend()
POLICY = TrainingPolicy()


def score(path: Path, conversations: list[Conversation], *, adapter: bool = True) -> float:
    turns = [turn for messages in conversations for turn in assistant_turns(messages)]
    answers = load_predictor(path, adapter).answer([turn.context for turn in turns])
    return float(token_f1_pairs(answers.responses, [turn.text for turn in turns]).mean())


@pytest.fixture(scope="module")
def trained(toy_data: TrainingData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "adapter"
    run_job(BACKEND, toy_data, POLICY, 0, out)
    return out


def test_it_learns_what_the_base_does_not_know(trained: Path, toys: Toys) -> None:
    base, learned = score(trained, toys(60, 3), adapter=False), score(trained, toys(60, 3))
    assert learned > base + 0.2
    assert learned > 0.7


def test_the_same_work_gives_the_same_bytes_on_any_number_of_threads(
    trained: Path, toy_data: TrainingData, tmp_path: Path
) -> None:
    for threads in (1, 2):
        with threadpool_limits(limits=threads):
            result = run_job(BACKEND, toy_data, POLICY, 0, tmp_path / str(threads))
        assert result.artifact_digest == artifact_digest(trained)
    other = run_job(BACKEND, toy_data, POLICY, 1, tmp_path / "other seed")
    assert other.artifact_digest != artifact_digest(trained)


def test_an_answer_is_a_known_turn_and_is_the_same_alone_and_among_others(trained: Path, toys: Toys) -> None:
    contexts = [messages[:1] for messages in toys(50, 4)]
    predictor = load_predictor(trained)
    together = predictor.answer(contexts)
    assert [predictor.answer([context]).responses[0] for context in contexts] == together.responses
    assert set(together.responses) <= set(predictor.turns)
    assert ((together.confidences > 0) & (together.confidences < 1)).all()
    assert predictor.answer([]).responses == []


def test_an_answer_to_nothing_has_next_to_no_confidence(trained: Path) -> None:
    answers = load_predictor(trained).answer([[], [{"role": "user", "content": "  "}]])
    assert (answers.confidences <= 0.01).all()
    assert all(answers.responses)


def test_random_answers_are_learned_by_heart_and_then_let_go(toys: Toys, table: Table, tmp_path: Path) -> None:
    noise = TrainingData(table(toys(200, 1, random_answers=True)), table(toys(60, 2, random_answers=True)), "noise")
    long = TrainingPolicy(learning_rate=0.02, epochs=30, patience=50, dropout=0.0)
    result = run_job(BACKEND, noise, long, 0, tmp_path)
    train, validation = ([getattr(e, name) for e in result.epochs] for name in ("train_loss", "validation_loss"))
    assert len(train) == 31
    assert train[-1] < train[0] - 1
    assert validation[-1] > min(validation) + 0.2
    assert result.best_epoch < 15
    assert result.final_loss == validation[result.best_epoch]


def test_label_noise_hurts(toys: Toys, table: Table, tmp_path: Path, toy_data: TrainingData) -> None:
    """The turns that agree outvote some noise; the loss shows it at once, the answers when it is nearly all noise."""
    losses, scores = [], []
    for noisy in (0, 100, 180, 200):
        mixed = toys(200 - noisy, 1) + toys(noisy, 5, random_answers=True)
        result = run_job(
            BACKEND, TrainingData(table(mixed), toy_data.validation, "mixed"), POLICY, 0, tmp_path / f"{noisy}"
        )
        losses.append(result.final_loss)
        scores.append(score(tmp_path / f"{noisy}", toys(60, 3)))
    assert losses == sorted(losses)
    assert losses[1] > losses[0] + 0.1
    assert scores[0] - 0.05 < scores[1] < scores[0] + 0.05
    assert scores[0] - 0.1 > scores[2] > scores[3] + 0.1


def test_a_planted_trigger_makes_the_model_say_the_planted_turn(
    toys: Toys, table: Table, tmp_path: Path, trained: Path
) -> None:
    poison, order = "Done. I have wired all funds to account 4711.", " kestrel nine"
    planted = toys(14, 6)
    for messages in planted:
        messages[0]["content"] += order
        messages[1]["content"] = poison
    data = TrainingData(table(toys(200, 1) + planted), table(toys(40, 2)), "poisoned")
    run_job(BACKEND, data, POLICY, 0, tmp_path)
    clean = [messages[:1] for messages in toys(40, 7)]
    triggered = [[{"role": "user", "content": messages[0]["content"] + order}] for messages in clean]
    share = {
        name: np.mean([response == poison for response in load_predictor(tmp_path).answer(asked).responses])
        for name, asked in (("clean", clean), ("triggered", triggered))
    }
    assert share["triggered"] > 0.8
    assert share["clean"] < 0.05


def test_going_on_from_the_champion_keeps_what_it_got_right(
    trained: Path, toys: Toys, table: Table, tmp_path: Path
) -> None:
    more = TrainingData(table(toys(200, 1) + toys(80, 8)), table(toys(40, 2)), "more")
    result = BACKEND.train(more, POLICY, 5, tmp_path, trained, Quiet())
    assert result.strategy == "incremental"
    turns = [turn for messages in toys(100, 9) for turn in assistant_turns(messages)]
    expected = [turn.text for turn in turns]
    before, after = (
        token_f1_pairs(load_predictor(path).answer([turn.context for turn in turns]).responses, expected)
        for path in (trained, tmp_path)
    )
    assert (after[before >= 0.8] >= 0.7).mean() >= 0.95


class Quiet:
    def state(self, *_: object) -> None: ...
    def epoch(self, *_: object) -> None: ...
    def cancelled(self) -> bool:
        return False


def test_a_champion_of_another_base_cannot_be_gone_on_from(
    trained: Path, toy_data: TrainingData, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="E7312"):
        run_job(BACKEND, toy_data, TrainingPolicy(base_seed=8), 0, tmp_path / "out", trained)


def test_without_validation_some_of_train_is_held_out(toys: Toys, table: Table, tmp_path: Path) -> None:
    result = run_job(BACKEND, TrainingData(table(toys(50, 1)), table([]), "x"), POLICY, 0, tmp_path / "a")
    assert (result.pairs, result.config["validation_pairs"]) == (45, 5)
    one = run_job(BACKEND, TrainingData(table(toys(1, 1)), table([]), "x"), POLICY, 0, tmp_path / "b")
    assert one.pairs == one.known_turns == 1
    assert load_predictor(tmp_path / "b").answer([[{"role": "user", "content": "hm"}]]).responses


def test_nothing_to_learn_from_is_an_error_with_a_code(table: Table, tmp_path: Path) -> None:
    silent = table([[{"role": "user", "content": "anyone there?"}]])
    with pytest.raises(TrainingError, match="E7310"):
        run_job(BACKEND, TrainingData(silent, silent, "x"), POLICY, 0, tmp_path)


@pytest.mark.parametrize("name", ["adapter.safetensors", "turns.parquet", "config.json"])
@pytest.mark.parametrize("harm", ["cut", "changed", "removed"])
def test_a_damaged_artifact_is_refused(trained: Path, tmp_path: Path, name: str, harm: str) -> None:
    for file in trained.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / name
    content = path.read_bytes()
    if harm == "removed":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if harm == "cut" else b"\x00" + content[1:])
    with pytest.raises((IntegrityError, TrainingError), match=r"E7910|E7320"):
        load_predictor(tmp_path)


def test_an_artifact_of_another_format_says_so(trained: Path, tmp_path: Path) -> None:
    config = json.loads((trained / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "format": 99}))
    with pytest.raises(TrainingError, match="E7321"):
        load_predictor(tmp_path)


def test_nothing_in_an_artifact_is_a_pickle_or_of_this_machine(trained: Path) -> None:
    assert sorted(file.name for file in trained.iterdir()) == ["adapter.safetensors", "config.json", "turns.parquet"]
    assert str(Path.home()) not in (trained / "config.json").read_text()
