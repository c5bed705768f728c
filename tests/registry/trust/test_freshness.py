"""What somebody with a SQL prompt takes away, who takes the triggers away first."""

import sqlite3

import pytest

from registry import database
from registry.audit.log import AuditLog
from registry.audit.seals import Seals
from registry.errors import IntegrityError


def sql(bench, *statements):
    with sqlite3.connect(bench.home.database) as opened:
        triggers = opened.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            opened.execute(f'DROP TRIGGER "{name}"')
        for statement in statements:
            opened.execute(statement)
        for _, text in triggers:
            opened.execute(text)


def put_back(bench):
    client = bench.registry.connection.client
    client.set_registered_model_alias("support", "champion", "1")
    client.set_model_version_tag("support", "1", "stage", "production")
    client.set_model_version_tag("support", "2", "stage", "archived")
    return bench.registry.get("support", "1")


@pytest.fixture
def two(bench):
    bench.champion("one")
    bench.champion("two")
    return bench


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("DELETE FROM bundles WHERE sequence = 6", "bundle 6 is in the audit log, and the record database ends with 5"),
        ("UPDATE bundles SET key = 'another' WHERE sequence = 6", "bundle 6 is another one than the audit log has"),
        ("DELETE FROM audit WHERE key = 'bundles#6'", "the audit log says nothing of bundle 6"),
        ("DELETE FROM bundles", "bundle 6 is in the audit log, and the record database ends with none"),
    ],
)
def test_an_earlier_champion_is_refused_where_the_newest_decision_was_taken_away(two, statement, why):
    sql(two, statement)
    version = put_back(two)
    for alias in ("champion", None):
        with pytest.raises(IntegrityError, match=f"E7948: .*{why}"):
            two.bundles.standing(version, alias)
    with pytest.raises(IntegrityError, match="E7948"):
        two.bundles.sign(version, "looked at", "mallory")


def test_an_approval_that_is_newer_is_no_decision_that_is_missing(two):
    given = {"time": "", "model": "support", "version": "2", "action": "approve", "digest": "", "envelope": "{}"}
    database.append(database.connect(two.home.database_url), database.bundles, "approval", given)
    assert two.history.notes("bundle", "support")[-1].body["action"] == "approve"
    assert two.bundles.standing(two.registry.get("support", "2"), "champion").version == "2"


def test_nothing_is_served_from_a_log_whose_end_was_taken_away(two):
    seals = Seals(AuditLog(two.home.database_url), two.bundles.keyring, two.home)
    seals.write()
    champion = two.registry.get("support", "2")
    assert two.bundles.standing(champion, "champion").version == "2"
    bundles, audit = "DELETE FROM bundles WHERE sequence > 3", "DELETE FROM audit WHERE sequence > {}"
    with sqlite3.connect(two.home.database) as opened:
        (end,) = opened.execute("SELECT sequence FROM audit WHERE key = 'bundles#4'").fetchone()
    sql(two, bundles, audit.format(end - 1))
    with pytest.raises(IntegrityError, match=r"E7948: the audit log ends with record \d+, .*: its end was taken away"):
        two.bundles.standing(put_back(two), "champion")


def test_a_closure_that_is_taken_away_opens_no_way_back_to_the_champion_before(two):
    sql(two, "DELETE FROM closures WHERE sequence = (SELECT max(sequence) FROM closures)")
    assert len(two.history.open_intents()) == 1
    with pytest.raises(IntegrityError, match="E7947: support@champion is at version 1"):
        two.bundles.standing(put_back(two), "champion")
