import json
import sqlite3

import pytest

from registry.errors import IntegrityError
from registry.trust.intents import effects_of, sealed

PROMOTION = [
    {"kind": "tag", "version": "2", "name": "stage", "value": "production"},
    {"kind": "alias", "version": "2", "name": "champion"},
    {"kind": "history", "version": "2", "name": "promote", "value": "all 14 gates pass", "after": "production"},
]


def body(effects=PROMOTION, decision=None):
    return {
        "by": "alice",
        "decision": decision,
        "run_id": None,
        "time": "2026-01-01T00:00:00+00:00",
        "effects": effects,
    }


def begun(bench, said, as_=None):
    signer = bench.bundles.keyring.own()
    signed = sealed(signer, "i" if as_ is None else as_, "support", said)
    return bench.history.intend("support", signed, "i")


def test_an_intent_that_somebody_wrote_into_the_database_is_refused_once_and_blocks_nobody(bench, toys):
    bench.champion("one")
    bench.candidate("two")
    with sqlite3.connect(bench.home.database) as database:
        database.execute(
            "INSERT INTO intents (sequence, key, time, model, body) SELECT max(sequence) + 1, 'forged', '2026', "
            "'support', ? FROM intents",
            (json.dumps(body()),),
        )
    with pytest.raises(IntegrityError, match=r"E7952: a change of support that 'alice' began .*: nobody signed it"):
        bench.transitions.quarantine("support", "2", "unsafe", toys.actor)
    assert bench.registry.champion("support").version == "1"
    (note,) = bench.history.notes("refused", "support")
    assert note.body["code"] == "E7952"
    assert bench.transitions.recover() == []
    assert bench.transitions.quarantine("support", "2", "unsafe", toys.actor).stage == "quarantine"


@pytest.mark.parametrize(
    ("said", "as_", "why"),
    [
        (body(), "another", "it is not what was signed"),
        (body(), None, "it lets version 2 serve, and neither a promotion nor a rollback is behind it"),
        (body(PROMOTION[:1]), None, "it lets version 2 serve"),
        (
            body([*PROMOTION, {"kind": "history", "version": "3", "name": "rollback", "after": "production"}]),
            None,
            "it lets version 2 serve",
        ),
    ],
)
def test_a_signed_intent_counts_for_itself_alone_and_lets_nothing_serve_without_a_decision(bench, said, as_, why):
    intent = begun(bench, said, as_)
    with pytest.raises(IntegrityError, match=f"E7952: .*{why}"):
        effects_of(bench.bundles.keyring.trust(), intent)


def test_an_intent_is_the_one_that_was_signed_with_a_promotion_or_a_rollback_behind_it(bench, toys):
    promoted = toys.decision("2", "promoted").model_dump(mode="json")
    intent = begun(bench, body(decision=promoted))
    trust = bench.bundles.keyring.trust()
    assert [effect.kind for effect in effects_of(trust, intent)] == ["tag", "alias", "history"]
    changed = intent._replace(body={**intent.body, "by": "mallory"})
    with pytest.raises(IntegrityError, match=r"E7952: .*it is not what was signed"):
        effects_of(trust, changed)
    with pytest.raises(IntegrityError, match=r"E7952: .*nobody signed it"):
        effects_of(trust, intent._replace(body={"erased": True}))


def test_a_finished_intent_whose_closure_was_taken_away_is_not_carried_out_again(bench, toys):
    bench.champion("one")
    bench.champion("two")
    bench.transitions.rollback("support", "worse", toys.actor)
    with sqlite3.connect(bench.home.database) as database:
        triggers = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            database.execute(f'DROP TRIGGER "{name}"')
        database.execute(
            "DELETE FROM closures WHERE key = (SELECT key FROM bundles WHERE action = 'promote' AND version = 2)"
        )
        for _, sql in triggers:
            database.execute(sql)
    (again,) = bench.transitions.recover()
    assert again.body["decision"]["version"] == "2"
    assert bench.registry.champion("support").version == "1"
    assert bench.history.open_intents() == []
