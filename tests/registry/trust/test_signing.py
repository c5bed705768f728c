import json
import multiprocessing
import stat

import pytest

from registry.errors import IntegrityError, SettingsError
from registry.trust.signing import Keyring, Signer

TYPE = "application/json"


@pytest.fixture
def keyring(tmp_path):
    return Keyring(tmp_path / "keys")


def opened(keyring: Keyring, signer: Signer, role="sign"):
    return keyring.trust().opened(signer.sign({"said": 1}, TYPE), TYPE, role)


def test_a_key_is_made_on_first_use_that_only_its_owner_can_read(keyring):
    signer = keyring.own()
    file = keyring.folder / "ratchet.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(keyring.folder.stat().st_mode) == 0o700
    signed = opened(keyring, signer)
    assert (signed.payload, signed.identity, signed.key_id) == ({"said": 1}, "ratchet", signer.key_id)
    assert Keyring(keyring.folder).own().key_id == signer.key_id, "it is made once"


def own_key(folder, barrier, found):
    barrier.wait()
    found.put(Keyring(folder).own().key_id)


def test_of_several_that_need_the_first_key_at_once_all_get_the_same(keyring):
    context = multiprocessing.get_context("fork")
    barrier, found = context.Barrier(4), context.Queue()
    several = [context.Process(target=own_key, args=(keyring.folder, barrier, found)) for _ in range(4)]
    for each in several:
        each.start()
    assert {found.get(timeout=30) for _ in several} == {keyring.own().key_id}
    for each in several:
        each.join()
    assert len(keyring.trust().keys) == 1


def test_what_was_changed_after_it_was_signed_does_not_count(keyring):
    envelope = json.loads(keyring.own().sign({"said": 1}, TYPE))
    other = json.loads(keyring.own().sign({"said": 2}, TYPE))
    envelope["payload"] = other["payload"]
    with pytest.raises(IntegrityError, match="E7941: the signature of ratchet is not that of its content"):
        keyring.trust().opened(json.dumps(envelope), TYPE)


@pytest.mark.parametrize(
    "envelope",
    ["", "[]", "{", "null", '{"payload": "e30=", "payloadType": "application/json", "signatures": 3}', "[" * 100_000],
)
def test_what_is_no_envelope_is_told_as_such(keyring, envelope):
    with pytest.raises(IntegrityError, match="E7940"):
        keyring.trust().opened(envelope, TYPE)


@pytest.mark.parametrize(
    ("signatures", "says"),
    [([], "nobody signed it"), ([[]], "its signatures are none"), ([{}], "it has no 'sig'"), ({}, "it is no object")],
)
def test_an_envelope_without_a_good_list_of_signatures_says_what_is_wrong(keyring, signatures, says):
    envelope = json.loads(keyring.own().sign({}, TYPE)) | {"signatures": signatures}
    with pytest.raises(IntegrityError, match=f"E7940: .*{says}"):
        keyring.trust().opened(json.dumps(envelope), TYPE)


def test_an_envelope_of_another_type_is_refused(keyring):
    with pytest.raises(IntegrityError, match="E7940"):
        keyring.trust().opened(keyring.own().sign({}, "text/plain"), TYPE)


def test_the_signature_of_a_stranger_does_not_count(keyring, tmp_path):
    with pytest.raises(IntegrityError, match=r"E7942: it is signed by the key .*, which nobody here trusts to sign"):
        opened(keyring, Keyring(tmp_path / "other").own())


def test_who_may_approve_may_not_sign_and_the_other_way_around(keyring):
    with pytest.raises(IntegrityError, match="E7942"):
        opened(keyring, keyring.person("dana"))
    with pytest.raises(IntegrityError, match="E7942"):
        opened(keyring, keyring.own(), "approve")
    assert opened(keyring, keyring.person("dana"), "approve").identity == "dana"


def test_what_a_retired_key_signed_counts_and_it_signs_nothing_new(keyring):
    old = keyring.own()
    envelope = old.sign({"said": 1}, TYPE)
    fresh = keyring.rotate()
    assert keyring.own().key_id == fresh.key_id != old.key_id
    assert keyring.trust().opened(envelope, TYPE).key_id == old.key_id
    given = Keyring(keyring.folder, own=str(keyring.folder / f"ratchet-{old.key_id[:12]}.pem"))
    with pytest.raises(SettingsError, match=r"E7895: the key .* of ratchet signs nothing new: it was retired"):
        given.own()


def test_of_a_revoked_key_nothing_counts_and_a_new_one_takes_its_place(keyring):
    old = keyring.own()
    envelope = old.sign({"said": 1}, TYPE)
    keyring.revoke(old.key_id[:8], "the laptop was stolen")
    with pytest.raises(IntegrityError, match=r"E7943: the key .* was revoked on .*: the laptop was stolen"):
        keyring.trust().opened(envelope, TYPE)
    with pytest.raises(SettingsError, match="E7895"):
        keyring.own()
    fresh = keyring.rotate()
    assert opened(keyring, fresh).key_id == fresh.key_id
    with pytest.raises(SettingsError, match=r"E7895: the key .* was revoked"):
        keyring.add(old.crypto.public_key.keyval["public"], "ratchet", ("sign",))


def test_a_revoked_name_is_not_taken_by_who_comes_next(keyring, tmp_path):
    dana = keyring.person("dana")
    keyring.revoke(dana.key_id, "stolen")
    with pytest.raises(SettingsError, match="E7895"):
        keyring.person("dana")
    (keyring.folder / "people" / "dana.pem").unlink()
    with pytest.raises(SettingsError, match="E7891: dana signs with the key"):
        keyring.person("dana")
    stranger = Keyring(tmp_path / "other")
    stranger.person("dana")
    with pytest.raises(SettingsError, match="E7891"):
        keyring.person("dana", tmp_path / "other" / "people" / "dana.pem")
    assert opened(keyring, keyring.rotate("dana"), "approve").identity == "dana"


def test_a_key_of_ones_own_counts_once_it_is_trusted_with_the_name(keyring, tmp_path):
    other = Keyring(tmp_path / "other")
    dana = other.person("dana")
    keyring.person("dana")
    file = tmp_path / "other" / "people" / "dana.pem"
    with pytest.raises(SettingsError, match="E7891"):
        keyring.person("dana", file)
    keyring.add(dana.crypto.public_key.keyval["public"], "dana", ("approve",))
    assert keyring.person("dana", file).key_id == dana.key_id
    with pytest.raises(SettingsError, match=r"E7895: the key .* is that of dana"):
        keyring.add(dana.crypto.public_key.keyval["public"], "bob", ("approve",))


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "a\\b", "a\nb", "x" * 201, "ratchet"])
def test_a_name_that_is_no_person_s_gets_no_key(keyring, name):
    with pytest.raises(SettingsError, match="E7892"):
        keyring.person(name)
    assert not list(keyring.folder.rglob("*.pem"))


def test_keys_that_are_given_are_used_and_never_written(keyring, tmp_path):
    signer = keyring.own()
    pem = (keyring.folder / "ratchet.pem").read_text()
    given = Keyring(tmp_path / "elsewhere", own=pem, trusted=keyring.file)
    assert opened(given, given.own()).key_id == signer.key_id
    for change in (given.rotate, lambda: given.revoke(signer.key_id, "x"), lambda: given.add("0" * 64, "a", ("sign",))):
        with pytest.raises(SettingsError, match="E7893"):
            change()
    with pytest.raises(SettingsError, match="E7891"):
        Keyring(tmp_path / "third", trusted=keyring.file).own()


@pytest.mark.parametrize("pem", ["-----BEGIN PRIVATE KEY-----\nnone\n-----END PRIVATE KEY-----", "/nowhere/key.pem"])
def test_a_key_that_cannot_be_read_is_told(keyring, pem):
    with pytest.raises(SettingsError, match="E7890"):
        Keyring(keyring.folder, own=pem).own()


def test_a_key_id_that_is_nobody_s_or_several_s_revokes_none(keyring):
    keyring.own()
    for start, says in (("", "no key was named"), (" ", "no key was named"), ("zz", "0 keys begin with 'zz'")):
        with pytest.raises(SettingsError, match=f"E7894: {says}; known are: .* .ratchet.$"):
            keyring.revoke(start, "why")
    assert [key.revoked for key in keyring.trust().keys.values()] == [None]


def test_a_key_is_revoked_once_and_when_and_why_stay(keyring):
    first = keyring.revoke(keyring.own().key_id, "stolen")
    with pytest.raises(SettingsError, match=r"E7896: the key .* of ratchet was revoked on .*: stolen; nothing is left"):
        keyring.revoke(first.key_id, "another story")
    assert keyring.trust().keys[first.key_id] == first


def test_every_spelling_of_a_name_has_one_key(keyring):
    dana = keyring.person("dana")
    assert {keyring.person(name).key_id for name in ("Dana", "DANA", "ｄａｎａ")} == {dana.key_id}
    assert keyring.person("Dana").identity == "dana"
    fresh = keyring.rotate("DANA")
    assert keyring.person("dana").key_id == fresh.key_id != dana.key_id
    assert len(list((keyring.folder / "people").glob("*.pem"))) == 2


@pytest.mark.parametrize("name", ["Ratchet", "RATCHET", "ratchеt", "ratchet\u200b", "ｒatchet", "dаna"])
def test_a_name_that_looks_like_the_installation_s_or_mixes_scripts_gets_no_key(keyring, name):
    keyring.own()
    for get in (keyring.person, lambda each: keyring.add("0" * 64, each, ("approve",))):
        with pytest.raises(SettingsError, match="E7892"):
            get(name)


def test_a_list_of_keys_that_was_torn_lets_nothing_count(keyring):
    signer = keyring.own()
    keyring.file.write_text('{"keys": [{"key_id": "')
    with pytest.raises(IntegrityError, match="E7944"):
        opened(keyring, signer)
