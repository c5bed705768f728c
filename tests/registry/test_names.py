"""Two spellings of a name are one person, and nobody takes a name that only looks like another."""

import pytest

from registry.errors import SettingsError
from registry.names import check_person, person, same_person

LOOK_ALIKES = ["rооt", "ro\u200bot", "ro\u00adot", "ro\u115fot", "root\ufe0f"]


@pytest.mark.parametrize(
    "spelling", ["ROOT", " root ", "ｒｏｏｔ", "rooṫ", "róot", "ro͏ot", *LOOK_ALIKES],
)  # fmt: skip
def test_every_spelling_of_a_name_is_one_person(spelling):
    assert same_person(spelling, "root")
    assert person(spelling) == "root"


def test_a_whole_word_of_another_script_that_looks_the_same_is_the_same():
    assert same_person("сосо", "coco")  # Cyrillic, and Latin
    assert not same_person("dana", "diana")
    assert person(" Dana  Scully") == "dana scully"


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_a_name_that_only_looks_like_another_is_refused_with_its_characters(name):
    with pytest.raises(SettingsError, match=r"E7892: '.*\\[xu]|E7892: .* mixes letters of CYRILLIC and LATIN"):
        check_person(name)


@pytest.mark.parametrize("name", ["Ярослав", "山田たろう", "José Núñez", "o'neil", "ann@example.com", "김철수"])
def test_names_of_all_the_world_are_names(name):
    check_person(name)
