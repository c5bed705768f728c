import hashlib

from registry.audit import chain
from registry.records import canonical_json

RECORD = {
    "time": "2026-11-21T16:00:00.000000+00:00",
    "by": 'Zoë "Z" \\ \u2028 \x01 🦀',
    "kind": "train",
    "model": "m",
    "version": "",
    "key": "a\nb",
}


def test_the_hash_is_that_of_the_canonical_json_of_a_record_whatever_its_texts_hold():
    fields = RECORD | {"sequence": 7, "digest": "d" * 64, "previous": chain.GENESIS}
    assert chain.record_hash(**fields) == hashlib.sha256(canonical_json(fields).encode()).hexdigest()


def test_linked_records_hold_the_hash_of_the_one_before_and_the_digest_of_their_body():
    first, second = chain.linked([RECORD | {"body": "{}"}, RECORD | {"body": '{"n":2}'}], 4, "e" * 64)
    assert (first["sequence"], first["previous"]) == (5, "e" * 64)
    assert (second["sequence"], second["previous"]) == (6, first["hash"])
    assert second["digest"] == hashlib.sha256(b'{"n":2}').hexdigest()


def test_the_record_of_a_row_names_its_table_and_number_and_holds_long_columns_by_their_digest():
    row = {"sequence": 3, "key": "k", "time": "t", "model": "m", "version": "1", "action": "attest", "digest": "d"}
    record = chain.record_of("bundles", row | {"envelope": "long " * 1000})
    assert (record["key"], record["kind"], record["by"]) == ("bundles#3", "bundle", "ratchet")
    assert len(record["body"]) < 300
    assert chain.record_of("bundles", row | {"envelope": "another"})["body"] != record["body"]


def test_only_keys_of_rows_of_chained_tables_are_taken_for_such():
    assert [chain.is_of_row(key) for key in ("history#3", "sources#1", "history", "decision:m#1:1")] == [
        True, True, False, False,
    ]  # fmt: skip
