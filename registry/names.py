"""Names of people: when two spellings are one person, and which spellings nobody may take.

Whoever may approve only once, or not what they trained themselves, must not become somebody else by another spelling.
"""

from __future__ import annotations

import unicodedata

from registry.errors import SettingsError

LONGEST = 200
_ALIKE = str.maketrans(
    "авекмнорстухіјѕԁһԛԝѵӏαβεζηικμνορτυχγωɑɡıȷ", "abekmhopctyxijsdhqwvlabezhikmvoptuxywagij"
)  # fmt: skip
"""Cyrillic, Greek and other letters that look like a Latin one, after case folding (from the skeletons of Unicode
Technical Standard 39). Small and large forms are both meant: к and К, н and Н."""
_HIDDEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_BLANK = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\u034f") | {chr(code) for code in range(0xFE00, 0xFE10)}
"""Letters, marks and symbols that are drawn as nothing."""
_LETTERS = frozenset({"Lu", "Ll", "Lt", "Lo"})
_TOGETHER = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"})
"""Scripts that are written in one word."""


def person(name: str) -> str:
    """Return what is equal for all spellings of one person's name.

    Case, width, spaces, accents, invisible characters and letters of other scripts that look the same make nobody
    another person. It errs on that side: José and Jose are one, and may approve once between them.
    """
    return " ".join(_folded(_folded(name).translate(_ALIKE)).split())


def same_person(one: str, other: str) -> bool:
    """Tell whether two spellings are the name of one person."""
    return person(one) == person(other)


def check_person(name: str) -> None:
    """Refuse a name that looks like another one, or that is none.

    Raises:
        SettingsError: E7892 it is empty, too long, a path, holds characters that cannot be seen, or a word of letters
            from several scripts.
    """
    why = _wrong(name)
    if why is not None:
        raise SettingsError("E7892", f"{name[:80]!a} cannot be a name: {why}", "use letters, digits and spaces")


def _wrong(name: str) -> str | None:
    if not person(name) or name in {".", ".."}:
        return "it is none"
    if len(name) > LONGEST:
        return f"it is longer than {LONGEST} characters"
    if "/" in name or "\\" in name:
        return "it is a path"
    if any(unicodedata.category(each) in _HIDDEN or each in _BLANK for each in name):
        return "it holds characters that cannot be seen"
    mixed = next((word for word in unicodedata.normalize("NFKC", name).split() if len(_scripts(word)) > 1), None)
    return None if mixed is None else f"{mixed[:40]!a} mixes letters of {' and '.join(sorted(_scripts(mixed)))}"


def _scripts(word: str) -> set[str]:
    """Return the scripts of a word's letters, by the names that Unicode gives them."""
    letters = {unicodedata.name(each, "?").split(" ")[0] for each in word if unicodedata.category(each) in _LETTERS}
    return {"CJK" if each.split("-")[0] in _TOGETHER else each for each in letters}


def _folded(text: str) -> str:
    """Return a text without case, accents and what cannot be seen."""
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    gone = _HIDDEN | {"Mn", "Me"}
    return "".join(
        each for each in apart if each.isspace() or (unicodedata.category(each) not in gone and each not in _BLANK)
    )
