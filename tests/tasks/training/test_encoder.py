import numpy as np
import pytest

from tasks.training.context import content, context_fields, encode_rows, turn_fields
from tasks.training.encoder import Base, Encoder, salt

ENCODER = Encoder(Base())
PLAIN = np.array([salt("")])


def likeness(a: str, b: str) -> float:
    left, right = ENCODER.encode([a, b], PLAIN)
    return float(left @ right)


def test_a_text_has_one_vector_whatever_stands_beside_it() -> None:
    texts = ["cancel my flight", "", "x" * 5000, "ünï-çødé \ud800 \0 text", "123 456", *["filler"] * 200]
    together = ENCODER.encode(texts, PLAIN)
    for row, text in zip(together, texts, strict=True):
        assert np.allclose(ENCODER.encode([text], PLAIN)[0], row, atol=1e-6)


def test_the_vectors_of_the_base_never_change() -> None:
    # A change here is a new base: raise Base.version, for no adapter fits any more.
    vector = ENCODER.encode(["Cancel reservation VA5SGQ, please."], PLAIN)[0]
    assert vector[:400].sum() == pytest.approx(1.4154637, abs=1e-5)
    assert np.abs(vector).argmax() == 191


def test_likeness_follows_words() -> None:
    assert likeness("please cancel my flight", "cancel my flight please") > 0.7
    assert abs(likeness("please cancel my flight", "zebra xylophone")) < 0.2


def test_forms_of_a_word_are_alike_by_their_trigrams() -> None:
    # A word of n letters has one word (weight 1), one pair (0.7) and n − 2 trigrams (0.25). Its plural shares n − 2 of
    # n − 1 trigrams: for n = 11 that is 9 · 0.25² / √((1.49 + 9 · 0.25²) · (1.49 + 10 · 0.25²)) = 0.5625 / 2.083 = 0.27
    forms = ["reservation", "destination", "information", "application", "transaction", "legislation", "competition"]
    plurals = np.mean([likeness(word, word + "s") for word in forms])
    others = np.mean([likeness(a[:4], b[:4]) for a in forms for b in forms if a != b])
    assert plurals == pytest.approx(0.27, abs=0.08)  # what the projection to 512 dimensions adds by chance
    assert abs(others) < 0.05


def test_identifiers_are_alike_by_their_shape_and_still_not_the_same() -> None:
    assert 0.6 < likeness("reservation va5sgq", "reservation kb7tmn") < 0.999


def test_vectors_have_length_one_or_zero() -> None:
    lengths = np.linalg.norm(ENCODER.encode(["a", "some words", "", " \n\t"], PLAIN), axis=1)
    assert lengths[:2] == pytest.approx([1, 1], abs=1e-6)
    assert lengths[2] == 0


def test_the_same_word_in_two_fields_is_two_features() -> None:
    mine, yours = ENCODER.encode(["cancel", "cancel"], np.array([salt("last user"), salt("last action")]))
    assert abs(float(mine @ yours)) < 0.5


def test_odd_messages_are_encoded_all_the_same() -> None:
    odd = [
        [],
        [{"role": "system", "content": None}],
        [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        [{"role": "assistant", "content": "", "tool_calls": [{"id": "x"}, "?"]}, {"role": "tool", "content": 7}],
        [{}],
    ]
    rows = encode_rows(ENCODER, map(context_fields, odd))
    assert rows.shape == (5, ENCODER.base.dimension)
    assert np.isfinite(rows).all()
    assert "hello" in content(odd[2][0])


def test_a_turns_tools_are_a_field_of_their_own() -> None:
    assert turn_fields('look_up({"id": 1})')[1].text == "look_up"
    assert turn_fields("Hello!")[1].text == "says"
