"""The main job as a user runs it: one command, real events, a real Prefect server, a real MLflow store."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from registry.records import SPLITS

pytestmark = pytest.mark.server


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows(summary: dict) -> pd.DataFrame:
    parts = [
        pd.read_parquet(Path(summary["dataset"]["path"]) / f"{split}.parquet").assign(split=split) for split in SPLITS
    ]
    return pd.concat(parts, ignore_index=True)


def test_a_first_run_ends_waiting_for_a_person_and_says_everything_that_the_contract_promises(learned):
    summary = learned.summary
    for key in ("run_id", "flow_run_id", "home", "report", "events", "examples", "dataset", "training", "model",
                "validation", "readiness", "gates", "decision"):  # fmt: skip
        assert key in summary
    assert summary["decision"] == "pending_approval"
    assert summary["model"] == {"name": "agent", "version": "1", "stage": "staging", "aliases": ["staging"]}
    assert summary["dataset"]["version"] == "1.0.0"
    assert summary["dataset"]["parent"] is None
    assert [stage["name"] for stage in summary["validation"]["stages"]] == [
        "regression", "performance", "safety", "diversity", "latency",
    ]  # fmt: skip
    assert Path(summary["report"]).read_text(encoding="utf-8").startswith("<!doctype html>")


def test_every_line_of_the_sample_ends_somewhere_and_the_counts_add_up(learned):
    events, examples = learned.summary["events"], learned.summary["examples"]
    assert events["read"] == sum(1 for line in learned.events.open(encoding="utf-8", errors="replace") if line.strip())
    assert events["rejected"] == sum(
        1 for _ in (learned.home / "runs" / learned.summary["run_id"] / "rejects.jsonl").open()
    )
    assert examples["extracted"] == examples["accepted"] + examples["review"] + examples["rejected"]
    splits = learned.summary["dataset"]["splits"]
    left_out = learned.summary["dataset"]["left_out"]
    assert examples["accepted"] == sum(splits.values()) + sum(left_out.values())
    assert learned.summary["dataset"]["near_duplicates"] == left_out["near_duplicate"] > 0


def test_the_model_learns_clearly_more_than_the_frozen_base_knows(learned):
    training = learned.summary["training"]
    assert training["score"] > training["base_score"] + 0.1
    assert training["curve"][0]["train_loss"] > training["curve"][-1]["train_loss"]


def test_nothing_personal_of_the_sample_is_left_in_the_dataset_or_in_the_model(learned):
    text = "\n".join(rows(learned.summary)["messages"])
    assert "[EMAIL]" in text
    assert "@example" not in text
    known = "".join(
        path.read_bytes().decode("utf-8", "replace") for path in (learned.home / "mlflow").rglob("*.parquet")
    )
    assert "@example" not in known


def test_the_same_events_again_are_unchanged_and_quickly_told(ratchet, copied):
    before = digests(copied.home / "datasets")
    again = ratchet("learn", copied.events, "--home", copied.home, "--json")
    assert again.code == 0
    assert again.json["decision"] == "unchanged"
    assert again.seconds < 5
    assert again.json["model"]["version"] == "1"
    assert digests(copied.home / "datasets") == before
    assert len(ratchet("show", "agent", "--home", copied.home, "--json").json["versions"]) == 1


@pytest.mark.slow
def test_the_same_input_gives_the_same_bytes_and_verdict_on_a_dask_cluster_of_two(ratchet, learned, tmp_path):
    env = {"RATCHET_RUNNER": "dask", "RATCHET_WORKERS": "2", "RATCHET_PARTITION_BYTES": "500000"}
    dask = ratchet("learn", learned.events, "--home", tmp_path / "home", "--json", env=env)
    assert dask.code == 0, dask.err[-3000:]
    assert digests(Path(dask.json["dataset"]["path"])) == digests(Path(learned.summary["dataset"]["path"]))
    assert dask.json["training"]["artifact_digest"] == learned.summary["training"]["artifact_digest"]
    assert dask.json["validation"]["recommendation"] == learned.summary["validation"]["recommendation"]
    assert dask.json["decision"] == learned.summary["decision"]


def told(summary: dict) -> list[tuple[str, str, list[str]]]:
    """What the stages found; latency is a measurement and not a function of the input."""
    return [
        (stage["name"], stage["status"], stage["reasons"])
        for stage in summary["validation"]["stages"]
        if stage["name"] != "latency"
    ]


@pytest.mark.slow
def test_the_same_input_gives_the_same_findings_on_one_worker_and_with_any_hash_seed(ratchet, learned, tmp_path):
    env = {"RATCHET_WORKERS": "1", "PYTHONHASHSEED": "7"}
    alone = ratchet("learn", learned.events, "--home", tmp_path / "home", "--json", env=env)
    assert alone.code == 0, alone.err[-3000:]
    assert digests(Path(alone.json["dataset"]["path"])) == digests(Path(learned.summary["dataset"]["path"]))
    assert alone.json["training"]["artifact_digest"] == learned.summary["training"]["artifact_digest"]
    assert told(alone.json) == told(learned.summary)
    assert alone.json["readiness"] == learned.summary["readiness"]


def test_who_approves_later_trains_nothing_again(ratchet, copied):
    done = ratchet("learn", copied.events, "--home", copied.home, "--json", "--approve-as", "dana")
    assert done.code == 0, done.err
    assert done.json["decision"] == "promoted"
    assert done.json["model"] == {"name": "agent", "version": "1", "stage": "production", "aliases": ["champion"]}
    again = ratchet("learn", copied.events, "--home", copied.home, "--json")
    assert again.json["decision"] == "unchanged"
    assert again.json["model"]["stage"] == "production"


def test_another_policy_takes_the_adapter_that_was_trained_before(ratchet, copied, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text("promotion: {min_readiness: 0.99999}\n")
    done = ratchet("learn", copied.events, "--home", copied.home, "--policy", policy, "--json")
    assert done.code == 0, done.err
    assert done.json["training"]["artifact_digest"] == copied.summary["training"]["artifact_digest"]
    assert done.json["training"]["mlflow_run_id"] != copied.summary["training"]["mlflow_run_id"]
    assert len(list((copied.home / "cache" / "training").iterdir())) == 1
    assert done.json["decision"] == "staged"


def test_a_version_that_was_overtaken_while_it_waited_is_learned_anew_and_not_promoted_on_old_evidence(
    ratchet, copied, make_sample, tmp_path
):
    made = make_sample(tmp_path / "made.jsonl", "--events", 1500, "--seed", 9)
    other = tmp_path / "other.jsonl"
    other.write_bytes(b"".join(line for line in made.open("rb") if b"partner-feed" not in line))
    second = ratchet("learn", other, "--home", copied.home, "--json", "--approve-as", "dana")
    assert second.code == 0, second.err
    assert second.json["model"]["aliases"] == ["champion"], second.json["decision"]
    late = ratchet("approve", "agent", "1", "--by", "dana", "--home", copied.home, "--json")
    assert late.code == 1
    assert late.err.startswith("E7566: agent/1 was examined against frozen base, but agent/2 serves now")
    anew = ratchet("learn", copied.events, "--home", copied.home, "--json", "--strategy", "full_retrain")
    assert anew.code == 0, anew.err
    assert anew.json["model"]["version"] == "3"
    assert anew.json["validation"]["baseline"] == "agent/2"
    known = ratchet("learn", copied.events, "--home", copied.home, "--json")
    assert known.json["decision"] == "unchanged"
    assert known.json["model"]["version"] == "2"  # which was trained on these events as well


def test_too_little_to_examine_with_is_told_before_anything_is_trained(ratchet, learned, tmp_path):
    few = tmp_path / "few.jsonl"
    with learned.events.open(encoding="utf-8", errors="replace") as lines:
        good = [line for line in lines if '"status":"success"' in line.replace(": ", ":") and '"quality_score"' in line]
    few.write_text("".join(good[:3]), encoding="utf-8")
    done = ratchet("learn", few, "--home", tmp_path / "home", "--json")
    assert done.code == 1
    assert done.err.startswith("E7"), done.err
    assert not list((tmp_path / "home" / "mlflow").rglob("*.safetensors"))


def test_standard_input_is_read_once_and_not_kept(ratchet, copied):
    done = ratchet("learn", "-", "--home", copied.home, "--json", stdin=copied.events.read_bytes())
    assert done.code == 0, done.err
    assert done.json["decision"] == "unchanged"
    assert not list((copied.home / "scratch").iterdir())


def test_an_approval_promotes_and_a_plain_mlflow_process_loads_the_champion(ratchet, copied):
    done = ratchet("approve", "agent", "1", "--by", "dana", "--note", "looked at it", "--home", copied.home, "--json")
    assert done.code == 0, done.err
    assert done.json["decision"] == "promoted"
    assert done.json["stage"] == "production"
    script = (
        "import mlflow, sys; mlflow.set_tracking_uri(sys.argv[1]);"
        "m = mlflow.pyfunc.load_model('models:/agent@champion');"
        "print(list(m.predict([{'prompt': 'I need to change my flight'}])))"
    )
    uri = f"sqlite:///{copied.home}/mlflow/mlflow.db"
    plain = subprocess.run(
        [sys.executable, "-c", script, uri], capture_output=True, text=True, cwd=copied.home, env=dict(os.environ)
    )
    assert plain.returncode == 0, plain.stderr[-2000:]
    assert "response" in plain.stdout
    answers = ratchet(
        "predict", "agent@champion", "--home", copied.home, stdin='{"prompt": "I need to change my flight"}\n{"x": 1}\n'
    )
    first, second = (json.loads(line) for line in answers.out.splitlines())
    assert first["response"]
    assert 0 <= first["confidence"] <= 1
    assert first["version"] == "1"
    assert second["error"] == "E7371"
    history = ratchet("history", "agent", "--home", copied.home, "--json").json["history"]
    assert [line["action"] for line in history][-2:] == ["approve", "promote"]
    assert history[-2]["by"] == "dana"


def test_an_event_is_traced_to_the_model_and_back(ratchet, learned):
    shown = ratchet("show", "agent/1", "--home", learned.home, "--json", "--events", "3").json
    assert shown["lineage"]["event_count"] == sum(learned.summary["dataset"]["splits"].values())
    event = shown["events"][0]
    traced = ratchet("lineage", f"{event['source']}#{event['id']}", "--home", learned.home, "--json").json
    assert traced["datasets"][0]["dataset"] == "agent/1.0.0"
    assert traced["datasets"][0]["models"][0]["version"] == "1"


def test_only_failed_traces_are_nothing_to_learn_from(ratchet, learned, tmp_path):
    failed = tmp_path / "failed.jsonl"
    with learned.events.open(encoding="utf-8", errors="replace") as lines, failed.open("w", encoding="utf-8") as out:
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if event.get("type") == "execution.completed" and isinstance(event.get("data"), dict):
                event["data"]["status"] = "failure"
                out.write(json.dumps(event) + "\n")
    done = ratchet("learn", failed, "--home", tmp_path / "home", "--json")
    assert done.code == 1
    assert done.err.strip().splitlines()[-1].startswith("E71")
    assert "Traceback" not in done.err
    assert not list((tmp_path / "home" / "datasets").iterdir())


def test_a_second_run_on_fresh_events_makes_a_minor_version_and_keeps_every_example_on_its_side(
    ratchet, copied, make_sample, tmp_path
):
    before = rows(copied.summary).set_index("example_id")["split"]
    approved = ratchet("approve", "agent", "1", "--by", "dana", "--home", copied.home)
    assert approved.code == 0, approved.err
    fresh = make_sample(tmp_path / "fresh.jsonl", "--part", "2")
    done = ratchet("learn", fresh, "--home", copied.home, "--json")
    assert done.code == 0, done.err[-2000:]
    summary = done.json
    assert summary["dataset"]["version"] == "1.1.0"
    assert summary["dataset"]["parent"] == "1.0.0"
    after = rows(summary).set_index("example_id")["split"]
    assert set(before.index) <= set(after.index)
    assert (after[before.index] == before).all()
    assert summary["validation"]["baseline"] == "agent/1"
    assert summary["training"]["strategy"] == "incremental"
    assert summary["validation"]["recommendation"] != "REJECT"
    back = ratchet("rollback", "agent", "--by", "dana", "--reason", "nothing to go back to", "--home", copied.home)
    assert back.code == 1
    assert back.err.startswith("E75")
