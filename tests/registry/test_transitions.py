import json
import signal
import subprocess
import sys

import pytest

from registry.errors import PromotionError


class Crash(BaseException):
    """The process ends here."""


class Steps:
    """Counts the steps of transitions, and ends the process at one of them."""

    def __init__(self):
        self.seen, self.stop = [], None

    def __call__(self, step):
        self.seen.append(step)
        if self.stop is not None and len(self.seen) > self.stop:
            self.stop = None
            raise Crash(step)


@pytest.fixture
def steps():
    return Steps()


@pytest.fixture
def bench(tmp_path, template, toys, steps):
    made = toys.open(tmp_path / "home", template, reached=steps)
    yield made
    made.history.close()


def place(bench, model, stages, aliases):
    """Put versions where they are to be directly, because it is done often."""
    client = bench.registry.connection.client
    run = bench.registry.tracking.start_run(model, model, model)
    client.create_registered_model(model)
    for stage in stages:
        client.create_model_version(model, source="file:///nowhere", run_id=run, tags={"stage": stage})
    for alias, version in aliases.items():
        client.set_registered_model_alias(model, alias, version)
    bench.history.append(model, "1", "promote", before="staging", after="production", by="ann")
    serving = {"aliases": aliases, "stages": {}, "by": "ann"}
    bench.bundles.decide(f"start {model}", model, "1", "promote", serving)


def two_candidates(bench, toys, model):
    """Version 1 serves, version 2 waits in staging."""
    place(bench, model, ["production", "staging"], {"champion": "1", "staging": "2"})
    bench.history.append(model, "2", "stage", before="development", after="staging", by="ann")


def two_champions(bench, toys, model):
    """Version 2 serves in the place of version 1."""
    place(bench, model, ["archived", "production"], {"champion": "2"})
    bench.history.append(model, "2", "promote", before="staging", after="production", by="ann")
    bench.history.append(model, "1", "archive", before="production", after="archived", by="ann")


def promote(bench, toys, model):
    made = toys.decision("2", "promoted", "1", model=model)
    bench.transitions.carry_out(made, toys.evidence(bench.registry.get(model, "2")), toys.actor)


def roll_back(bench, toys, model):
    bench.transitions.rollback(model, "worse", toys.actor, to="1")


def quarantine(bench, toys, model):
    bench.transitions.quarantine(model, "1", "unsafe", toys.actor)


def outcome(bench, model):
    """Everything that a reader sees of a model, without times and ids."""
    client = bench.registry.connection.client
    lines = [line.model_dump(exclude={"sequence", "time", "model"}) for line in bench.history.of(model)]
    versions = {v.version: (v.stage, v.aliases) for v in bench.registry.versions(model)}
    tags = {version: client.get_model_version(model, version).tags for version in versions}
    run = bench.registry.versions(model)[0].run_id
    told = json.loads(bench.registry.tracking.artifact(run, "history.json").read_text())
    signed = [(b.action, b.version, b.predicate["aliases"], b.predicate["stages"]) for b in bench.bundles.of(model)]
    return versions, tags, lines, [line["action"] for line in told], signed


@pytest.mark.parametrize(
    ("start", "action"), [(two_candidates, promote), (two_champions, roll_back), (two_candidates, quarantine)]
)
def test_a_crash_between_any_two_steps_leaves_what_the_next_run_finishes(bench, toys, steps, start, action):
    def prepare(model):
        start(bench, toys, model)
        steps.seen = []

    prepare("whole")
    action(bench, toys, "whole")
    expected, points = outcome(bench, "whole"), len(steps.seen)
    assert points >= 6
    for point in range(points):
        prepare(f"cut-{point}")
        steps.stop = point
        with pytest.raises(Crash):
            action(bench, toys, f"cut-{point}")
        serving = [v for v in bench.registry.versions(f"cut-{point}") if "champion" in v.aliases]
        assert all(v.stage in {"production", "quarantine"} for v in serving), "what serves is never half promoted"
        for version in serving:
            if action is not quarantine:
                bench.bundles.check(version, "champion")  # what serves was signed at every moment
        finished = bench.transitions.recover()
        assert bench.history.open_intents() == []
        assert bool(finished) == (0 < point < points - 1), "before the intent and after its end nothing is left to do"
        if point == 0:
            action(bench, toys, f"cut-{point}")
        assert outcome(bench, f"cut-{point}") == expected
    bench.history.verify()


def test_the_next_transition_finishes_what_a_crash_left_before_anything_else(bench, toys, steps):
    two_candidates(bench, toys, "support")
    steps.seen, steps.stop = [], 3  # begin, intent, and one effect are done
    with pytest.raises(Crash):
        promote(bench, toys, "support")
    restored = bench.transitions.rollback("support", "worse", toys.actor)
    assert restored.version == "1"
    assert [(line.version, line.action) for line in bench.history.of("support")][-4:] == [
        ("2", "promote"),
        ("1", "archive"),
        ("1", "rollback"),
        ("2", "archive"),
    ]


KILLED = """
import os, signal, sys
from pathlib import Path
from registry.trust.bundles import Bundles
from registry.connection import connect
from registry.history import History
from registry.home import Home
from registry.models import ModelRegistry
from registry.trust.signing import Keyring
from registry.transitions import Actor, Transitions
home, stop, seen = Home(sys.argv[1]), int(sys.argv[2]), []
def reached(step):
    seen.append(step)
    if len(seen) > stop:
        os.kill(os.getpid(), signal.SIGKILL)
registry = ModelRegistry(connect(home))
bundles = Bundles(home.database_url, Keyring(home.keys), lambda: registry)
transitions = Transitions(registry, History(home.database_url), bundles, reached=reached)
transitions.rollback("support", "worse", Actor("ann"), to="1")
"""


def test_a_killed_process_holds_no_lock_and_its_rollback_is_finished(bench, toys):
    two_candidates(bench, toys, "support")
    promote(bench, toys, "support")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(bench.home.root), "3"], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stderr == ""
    (intent,) = bench.transitions.recover("support")
    assert intent.body["by"] == "ann"
    assert bench.registry.champion("support").version == "1"
    assert bench.transitions.recover() == []


RIVAL = """
import sys
from registry.trust.bundles import Bundles
from registry.connection import connect
from registry.errors import PromotionError
from registry.history import History
from registry.home import Home
from registry.models import ModelRegistry
from registry.records import Decision
from registry.trust.signing import Keyring
from registry.transitions import Actor, Transitions
home = Home(sys.argv[1])
registry = ModelRegistry(connect(home))
bundles = Bundles(home.database_url, Keyring(home.keys), lambda: registry)
transitions = Transitions(registry, History(home.database_url), bundles)
print("ready", flush=True)
made = Decision.model_validate_json(sys.stdin.readline())
try:
    transitions.promote(made, Actor("rival"))
    print("promoted")
except PromotionError as error:
    print(error.code)
"""


def test_of_two_that_promote_at_once_one_wins_and_the_other_is_told(bench, toys):
    two_candidates(bench, toys, "support")
    third = bench.bare("support", bench.registry.get("support", "1").run_id)
    rival = subprocess.Popen(
        [sys.executable, "-c", RIVAL, str(bench.home.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert rival.stdout.readline() == "ready\n"
    rival.stdin.write(toys.decision(third.version, "promoted", "1").model_dump_json() + "\n")
    rival.stdin.close()
    try:
        promote(bench, toys, "support")
        mine = "promoted"
    except PromotionError as error:
        mine = error.code
    theirs = rival.stdout.readline().strip()
    assert rival.wait(timeout=60) == 0
    assert sorted([mine, theirs]) == ["E7526", "promoted"]
    production = [v.version for v in bench.registry.versions("support") if v.stage == "production"]
    assert production == [bench.registry.champion("support").version] == ["2" if mine == "promoted" else "3"]
    bench.history.verify()


def test_carrying_a_decision_out_again_changes_nothing(bench, toys):
    two_candidates(bench, toys, "support")
    promote(bench, toys, "support")
    before = outcome(bench, "support")
    promote(bench, toys, "support")
    assert outcome(bench, "support") == before
    assert len(bench.history.decisions("support", "2")) == 1


def test_a_promotion_says_who_let_it_through_and_what_it_replaced(bench, toys):
    two_candidates(bench, toys, "support")
    promote(bench, toys, "support")
    client = bench.registry.connection.client
    new, old = client.get_model_version("support", "2").tags, client.get_model_version("support", "1").tags
    assert (new["stage"], new["decision"], new["replaced"]) == ("production", "promoted", "1")
    assert (old["stage"], old["replaced_by"]) == ("archived", "2")
    run = bench.registry.get("support", "2").run_id
    kept = json.loads(bench.registry.tracking.artifact(run, "decision.json").read_text())
    assert kept["decision"]["version"] == "2"
    assert kept["evidence"]["readiness"]["score"] == 0.9


def test_what_was_found_by_the_examination_is_on_the_version(bench, toys):
    two_candidates(bench, toys, "support")
    readiness = toys.evidence(bench.registry.get("support", "2")).readiness
    version = bench.transitions.validated("support", "2", toys.report("REVIEW"), readiness, toys.actor)
    assert (version.recommendation, version.readiness) == ("REVIEW", 0.9)
    bench.transitions.validated("support", "2", toys.report("REVIEW"), readiness, toys.actor)  # repeated: one line
    assert [line.action for line in bench.history.of("support", "2")] == ["stage", "validate"]
    line = bench.history.of("support", "2")[-1]
    assert (line.action, line.before, line.after) == ("validate", "staging", "staging")
    assert line.reason == "REVIEW against frozen base: regression PASS"


def test_only_a_version_in_staging_can_be_approved(bench, toys):
    two_candidates(bench, toys, "support")

    def approve(version):
        return bench.transitions.approve("support", version, lambda: bench.history.approve("support", version, "bob"))

    approval = approve("2")
    assert bench.history.approvals("support", "2") == [approval]
    with pytest.raises(PromotionError, match="E7524: support version 1 is in production"):
        approve("1")
    with pytest.raises(PromotionError, match="E7522"):
        approve("9")
    assert bench.history.approvals("support", "1") == []


def test_a_rollback_with_no_earlier_champion_says_so(bench, toys):
    two_candidates(bench, toys, "support")
    with pytest.raises(PromotionError, match="E7527: support has no earlier champion"):
        bench.transitions.rollback("support", "worse", toys.actor)
    with pytest.raises(PromotionError, match="E7528: support version 2 cannot be restored: it never served"):
        bench.transitions.rollback("support", "worse", toys.actor, to="2")
    with pytest.raises(PromotionError, match="E7528: support version 1 is the champion already"):
        bench.transitions.rollback("support", "worse", toys.actor, to="1")


def test_a_decision_that_is_not_to_promote_does_not_promote(bench, toys):
    two_candidates(bench, toys, "support")
    for made in (
        toys.decision("2", "pending_approval", "1"),
        toys.decision("2", "promoted", "1", gates=[]),
        toys.decision("2", "promoted", "1", target="staging"),
    ):
        with pytest.raises(PromotionError, match="E7525"):
            bench.transitions.promote(made, toys.actor)
    with pytest.raises(
        PromotionError, match=r"E7526: .* compared with version none, but the champion is now version 1"
    ):
        bench.transitions.promote(toys.decision("2", "promoted", None), toys.actor)
    assert bench.registry.champion("support").version == "1"


def test_a_rejected_version_stays_where_the_decision_leaves_it_and_is_rejected_once(bench, toys):
    two_candidates(bench, toys, "support")
    for _ in range(2):
        version = bench.transitions.reject(toys.decision("2", "rejected", target="staging"), toys.actor)
        assert version.stage == "staging"
    assert [line.action for line in bench.history.of("support", "2")] == ["stage", "reject"]
    version = bench.transitions.reject(toys.decision("2", "rejected", evidence_digest="another"), toys.actor)
    assert (version.stage, version.aliases) == ("archived", [])
    with pytest.raises(PromotionError, match="E7524: support version 1 is in production and cannot be rejected"):
        bench.transitions.reject(toys.decision("1", "rejected"), toys.actor)


def test_a_challenger_gets_the_alias_and_gives_it_back_without_moving(bench, toys):
    two_candidates(bench, toys, "tried")
    for _ in range(2):  # once more changes nothing
        assert bench.transitions.challenge("tried", "2", "tried at 10 %", toys.actor).aliases == [
            "challenger",
            "staging",
        ]
    assert [line.action for line in bench.history.of("tried", "2")] == ["stage", "challenge"]
    after = bench.transitions.withdraw("tried", "2", "stopped by ann", toys.actor)
    assert (after.stage, after.aliases) == ("staging", ["staging"])
    assert bench.transitions.withdraw("tried", "2", "again", toys.actor) == after
    with pytest.raises(PromotionError, match="E7524"):
        bench.transitions.challenge("tried", "1", "it serves", toys.actor)
