import pytest

from registry.errors import IntegrityError
from registry.trust.recorded import recorded


@pytest.fixture
def moved(bench, toys):
    """An earlier champion, the champion, and a challenger, of whose key nothing counts any more."""
    bench.champion("one")
    bench.champion("two")
    third = bench.candidate("three")
    bench.transitions.carry_out(toys.decision("3", "staged"), toys.evidence(third), toys.actor)
    bench.transitions.challenge("support", "3", "tried", toys.actor)
    keyring = bench.bundles.keyring
    keyring.revoke(keyring.own().key_id, "stolen")
    keyring.rotate()
    return bench


def sign(bench, number):
    return bench.bundles.sign(bench.registry.get("support", number), "looked at", "ann")


def test_what_is_signed_again_is_where_the_versions_were_recorded_to_be(moved):
    known = recorded(moved.history, "support")
    assert known.stages == {"1": "archived", "2": "production", "3": "staging"}
    assert known.aliases == {"champion": "2", "staging": "3", "challenger": "3"}
    assert sign(moved, "2").predicate["aliases"] == {"champion": "2"}
    assert sign(moved, "3").predicate["aliases"] == {"challenger": "3", "staging": "3"}
    assert sign(moved, "1").predicate["stages"] == {"1": "archived"}
    assert moved.bundles.standing(moved.registry.get("support", "2"), "champion").version == "2"


def test_what_was_moved_by_hand_after_a_key_was_revoked_is_not_signed(moved):
    client = moved.registry.connection.client
    client.set_model_version_tag("support", "1", "stage", "production")
    with pytest.raises(IntegrityError, match="E7954: MLflow has support version 1 in production, and its history in"):
        sign(moved, "1")
    client.set_registered_model_alias("support", "champion", "1")
    with pytest.raises(IntegrityError, match=r"E7947: support@champion is at version 1, .* has it at version 2"):
        sign(moved, "1")
    with pytest.raises(IntegrityError, match="E7947: support@champion is not at version 2"):
        sign(moved, "2")


def test_after_a_key_was_revoked_it_is_told_which_version_to_sign(moved, toys):
    what = r"E7943: support version {0}: the key .* revoked.*look at it, and then `ratchet sign support/{0}`"
    with pytest.raises(IntegrityError, match=what.format(2)):
        moved.bundles.standing(moved.registry.get("support", "2"), "champion")
    sign(moved, "2")
    with pytest.raises(IntegrityError, match=what.format(1)):
        moved.transitions.rollback("support", "worse", toys.actor)
    sign(moved, "1")
    assert moved.transitions.rollback("support", "worse", toys.actor).version == "1"


def test_without_the_record_database_nobody_is_said_to_have_moved_an_alias(moved, tmp_path):
    champion = moved.registry.get("support", "2")
    empty = type(moved.bundles)(f"sqlite:///{tmp_path}/other.db", moved.bundles.keyring, lambda: moved.registry)
    with pytest.raises(IntegrityError, match=r"E7945: .* knows of no decision about support; restore"):
        empty.standing(champion, "champion")
