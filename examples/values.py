"""Made-up values for the sample events: names, codes, and personal data that is fake but well-formed."""

from __future__ import annotations

import random
import string
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

_NAMED = tomllib.loads((Path(__file__).parent / "scenarios" / "names.toml").read_text(encoding="utf-8"))
OTHER_WORDS: dict[str, list[str]] = _NAMED["other_words"]
_CODE = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


def luhn_digit(digits: str) -> str:
    """Return the digit that makes `digits` a valid card number (ISO/IEC 7812)."""
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if position % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return str(-total % 10)


def iban(country: str, account: str) -> str:
    """Return `account` as an IBAN with its two check digits (ISO 13616, modulo 97)."""
    number = "".join(str(int(sign, 36)) for sign in f"{account}{country}00")
    return f"{country}{98 - int(number) % 97:02d}{account}"


def _card(rng: random.Random) -> str:
    digits = "400000" + "".join(rng.choices(string.digits, k=9))
    whole = digits + luhn_digit(digits)
    return " ".join(whole[i : i + 4] for i in range(0, 16, 4)) if rng.random() < 0.5 else whole


def _phone(rng: random.Random) -> str:
    """Return a number from ranges that are kept free for fiction."""
    return rng.choice((f"+1 202-555-01{rng.randrange(100):02d}", f"+44 20 7946 0{rng.randrange(1000):03d}"))


def _email(rng: random.Random) -> str:
    host = rng.choice(("example.com", "example.org", "mail.example.net"))
    return f"{rng.choice(_NAMED['names']).lower()}.{rng.choice(_NAMED['nouns'])}{rng.randrange(100)}@{host}"


def _api_key(rng: random.Random) -> str:
    tail = "".join(rng.choices(string.ascii_letters + string.digits, k=29))
    return rng.choice((f"ghp_EXAMPLE{tail}", f"sk-proj-EXAMPLE{tail}{tail[:12]}", "AKIAIOSFODNN7EXAMPLE"))


def _code(rng: random.Random) -> str:
    return "".join(rng.choices(_CODE, k=6))


def _day(rng: random.Random) -> str:
    return f"{rng.randint(1, 28)} {rng.choice(_NAMED['months'])}"


def _function(rng: random.Random) -> str:
    return f"{rng.choice(_NAMED['verbs'])}_{rng.choice(_NAMED['nouns'])}"


_MAKERS: dict[str, Callable[[random.Random], str]] = {
    "amount": lambda r: str(r.randint(120, 3900)),
    "api_key": _api_key,
    "branch": lambda r: f"{r.choice(('feature', 'fix', 'chore'))}/{r.choice(_NAMED['nouns'])}-{r.randint(2, 999)}",
    "card": _card,
    "city": lambda r: r.choice(_NAMED["cities"]),
    "city2": lambda r: r.choice(_NAMED["cities"]),
    "code": _code,
    "colour": lambda r: r.choice(_NAMED["colours"]),
    "company": lambda r: r.choice(_NAMED["companies"]),
    "country": lambda r: r.choice(_NAMED["countries"]),
    "date": _day,
    "date2": _day,
    "email": _email,
    "file": lambda r: f"src/{r.choice(_NAMED['nouns'])}/{_function(r)}.py",
    "fn": _function,
    "iban": lambda r: iban("DE", "00000000" + "".join(r.choices(string.digits, k=10))),
    "letter": lambda r: r.choice("ABCDEFGHJK"),
    "minutes": lambda r: str(r.randint(15, 97)),
    "module": lambda r: f"{r.choice(_NAMED['nouns'])}_{r.choice(('core', 'api', 'store', 'jobs'))}",
    "month": lambda r: r.choice(_NAMED["months"]),
    "n": lambda r: str(r.randint(2, 9)),
    "name": lambda r: r.choice(_NAMED["names"]),
    "name2": lambda r: r.choice(_NAMED["names"]),
    "noun": lambda r: r.choice(_NAMED["nouns"]),
    "order": lambda r: f"{r.choice('KMNPT')}{r.randint(1000, 9999)}{r.choice('ABCDEFXYZ')}{r.randint(0, 9)}",
    "phone": _phone,
    "project": lambda r: (
        f"{r.choice(_NAMED['nouns']).title()} {r.choice(('launch', 'audit', 'rewrite', 'pilot', 'report'))}"
    ),
    "repo": lambda r: f"{r.choice(_NAMED['nouns'])}-{r.choice(('web', 'api', 'cli', 'etl', 'app'))}",
    "sha": lambda r: f"{r.getrandbits(28):07x}",
    "small": lambda r: str(r.randint(9, 95)),
    "street": lambda r: r.choice(_NAMED["streets"]),
    "ticket": lambda r: f"J-{r.randint(10_000, 99_999)}",
    "time": lambda r: f"{r.randint(6, 22):02d}:{r.choice(('05', '10', '20', '35', '40', '55'))}",
    "view": lambda r: r.choice(("brief", "full", "latest")),
    "version": lambda r: f"{r.randint(1, 6)}.{r.randint(0, 19)}.{r.randint(0, 9)}",
}


class Slots(Mapping[str, str]):
    """The values of one request: each is drawn when it is first asked for, and stays the same afterwards."""

    def __init__(self, rng: random.Random) -> None:
        self._rng, self._drawn = rng, dict[str, str]()

    def __getitem__(self, name: str) -> str:
        if name not in self._drawn:
            self._drawn[name] = _MAKERS[name](self._rng)
        return self._drawn[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_MAKERS)

    def __len__(self) -> int:
        return len(_MAKERS)
