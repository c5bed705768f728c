"""Labelled texts: values of every kind, made by their check digits, and what is most easily taken for one.

Everything is drawn from a seeded generator; nothing belongs to anybody.
"""
# ruff: noqa: E501, SIM905 - tables of samples, one a line or two

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import quote

import phonenumbers

from tasks.curation.check_digits import IBAN_LENGTHS, iban_is_valid, luhn_is_valid


class Labelled(NamedTuple):
    """A text; the value in it, or what looks like one; the value's kind, None where nobody's data is in it."""

    text: str
    value: str
    kind: str | None


LEADS = (
    "Thanks for getting back to me. {}", "{}", "{}.", "Note for the file: {} (checked twice)", "user wrote: {} and then left",
    "{}, as I said before", "Please update my account: {} Best, Kim", "<p>{}</p>", "log> {}\nlog> done", '{{"note": "{}"}}',
)  # fmt: skip
_WORDS = "river stone maple harbor violet copper meadow falcon winter amber cedar lunar".split()
_LETTERS, _ALNUM, _HEX = string.ascii_lowercase, string.ascii_letters + string.digits, "0123456789abcdef"


def _some(rng: random.Random, alphabet: str, count: int) -> str:
    return "".join(rng.choices(alphabet, k=count))


def _digits(rng: random.Random, count: int) -> str:
    return _some(rng, string.digits, count)


def _luhn(body: str, *, valid: bool = True) -> str:
    right = next(digit for digit in string.digits if luhn_is_valid(body + digit))
    return body + (right if valid else str((int(right) + 5) % 10))


def _in_groups(text: str, size: int, separator: str) -> str:
    return separator.join(text[place : place + size] for place in range(0, len(text), size))


def _mixed(rng: random.Random, alphabet: str, count: int) -> str:
    return _some(rng, alphabet, count - 2) + rng.choice("abcdef") + rng.choice(string.digits)


# --- values ----------------------------------------------------------------------------------------------------------


def email(rng: random.Random) -> str:
    name = rng.choice(
        [
            f"{rng.choice(_WORDS)}.{rng.choice(_WORDS)}",
            f"{rng.choice(_WORDS)}{rng.randrange(99)}",
            f"{rng.choice(_WORDS)}_{_some(rng, _LETTERS, 3)}+tag",
        ]
    )
    domain = rng.choice(
        [
            "example.com",
            "mail.example.org",
            "example.co.uk",
            "firma-beispiel.de",
            "xn--bcher-kva.example",
            "EXAMPLE.NET",
        ]
    )
    return f"{name}@{domain}"


def phone(rng: random.Random) -> str:
    formats = phonenumbers.PhoneNumberFormat
    while True:
        number = phonenumbers.example_number_for_type(
            rng.choice(sorted(phonenumbers.SUPPORTED_REGIONS)), rng.choice([0, 1, 1])
        )
        if number is None:
            continue
        form = rng.choice([formats.INTERNATIONAL, formats.INTERNATIONAL, formats.E164, formats.RFC3966])
        return phonenumbers.format_number(number, form)


def phone_told(rng: random.Random) -> str:
    word = rng.choice(["call me at", "phone:", "my number is, tel.", "mobile", "reach me on my cell at"])
    return f"{word} {rng.choice(['555-013-4477', '(555) 013-4477', '5550134477', '0171 5550134', '07700 900123', '98765 43210', '612 34 56 78'])}"


def card(rng: random.Random) -> str:
    start, length = rng.choice(
        [
            ("4", 16),
            ("51", 16),
            ("2221", 16),
            ("34", 15),
            ("37", 15),
            ("6011", 16),
            ("3528", 16),
            ("36", 14),
            ("62", 16),
        ]
    )
    number = _luhn(start + _digits(rng, length - len(start) - 1))
    groups = {15: f"{number[:4]} {number[4:10]} {number[10:]}", 14: f"{number[:4]} {number[4:10]} {number[10:]}"}
    return rng.choice(
        [number, groups.get(length, _in_groups(number, 4, " ")), groups.get(length, _in_groups(number, 4, "-"))]
    )


def iban(rng: random.Random) -> str:
    country = rng.choice(sorted(IBAN_LENGTHS))
    body = _digits(rng, IBAN_LENGTHS[country] - 4)
    number = next(n for check in range(2, 99) if iban_is_valid(n := f"{country}{check:02d}{body}"))
    return rng.choice([number, _in_groups(number, 4, " "), number.lower()])


def ssn(rng: random.Random) -> str:
    area = rng.choice([rng.randrange(1, 666), rng.randrange(667, 900)])
    parts = f"{area:03d}", f"{rng.randrange(1, 100):02d}", f"{rng.randrange(1, 10000):04d}"
    return rng.choice(["-".join(parts), "-".join(parts), " ".join(parts), "SSN: " + "".join(parts)])


def ip_address(rng: random.Random) -> str:
    groups = ":".join(f"{rng.randrange(1, 65536):x}" for _ in range(8))
    four = f"{rng.choice([8, 10, 93, 172, 192, 203])}.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"
    return rng.choice(
        [
            four,
            four,
            groups,
            f"2001:db8::{rng.randrange(1, 65536):x}:{rng.randrange(1, 65536):x}",
            f"fe80::{rng.randrange(1, 65536):x}",
        ]
    )


def api_key(rng: random.Random) -> str:
    return rng.choice([
        "AKIA" + _some(rng, string.ascii_uppercase + string.digits, 16), "ghp_" + _some(rng, _ALNUM, 36), "glpat-" + _some(rng, _ALNUM, 20),
        "sk-" + _mixed(rng, _ALNUM, 48), "sk-proj-" + _mixed(rng, _ALNUM, 64), "sk-ant-api03-" + _mixed(rng, _ALNUM + "-_", 93), "sk_live_" + _some(rng, _ALNUM, 24),
        "AIza" + _some(rng, _ALNUM, 35), "xoxb-" + _digits(rng, 12) + "-" + _some(rng, _ALNUM, 24), "hf_" + _some(rng, string.ascii_letters, 34),
        "npm_" + _some(rng, _ALNUM, 36), "SG." + _some(rng, _ALNUM, 22) + "." + _some(rng, _ALNUM, 43), "github_pat_" + _some(rng, _ALNUM, 22) + "_" + _some(rng, _ALNUM, 59),
        "dop_v1_" + _some(rng, _HEX, 64), "shpat_" + _some(rng, _HEX, 32), "SK" + _mixed(rng, _HEX, 32), "api_key=" + _mixed(rng, _ALNUM, 32),
        'client_secret: "' + _mixed(rng, _ALNUM, 40) + '"', "aws_secret_access_key = " + _mixed(rng, _ALNUM + "/+", 40),
        "https://hooks.slack.com/services/T" + _some(rng, _ALNUM.upper(), 8) + "/B" + _some(rng, _ALNUM.upper(), 8) + "/" + _some(rng, _ALNUM, 24),
    ])  # fmt: skip


def _json64(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def jwt(rng: random.Random) -> str:
    header, payload = {"alg": rng.choice(["HS256", "RS256"]), "typ": "JWT"}, {"sub": _digits(rng, 10)}
    return f"{_json64(header)}.{_json64(payload)}.{_some(rng, _ALNUM + '-_', 43)}"


def private_key(rng: random.Random) -> str:
    kind = rng.choice(["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", "DSA "])
    body = "\n".join(_some(rng, _ALNUM + "+/", 64) for _ in range(rng.randrange(2, 6)))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"


def password(rng: random.Random) -> str:
    secret = rng.choice(
        [
            _mixed(rng, _ALNUM, 10),
            "Tr0ub4dor&" + _digits(rng, 2),
            rng.choice(_WORDS).title() + _digits(rng, 4) + "!",
            rng.choice(_WORDS) + "#" + _some(rng, _ALNUM, 5),
        ]
    )
    return rng.choice(
        [
            f"password: {secret}",
            f"password={secret}",
            f"my password is {secret}",
            f"pwd={secret}",
            f"passphrase = '{secret}'",
            f"postgres://app:{secret.replace('#', 'x')}@db.example.com/x",
        ]
    )


def bearer(rng: random.Random) -> str:
    return f"Authorization: Bearer {_mixed(rng, _ALNUM + '-._', 40)}"


def mac_address(rng: random.Random) -> str:
    return rng.choice(":-").join([f"{rng.randrange(256):02X}" for _ in range(5)] + ["A7"])


def national_id(rng: random.Random) -> str:
    number = rng.randrange(10**7, 10**8)
    return rng.choice([
        f"{number}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}", f"AB {_in_groups(_digits(rng, 6), 2, ' ')} C",
        f"SIN {_in_groups(_luhn('1' + _digits(rng, 7)), 3, ' ')}", "RSSMRA85T10A562S", "ABCPE" + _digits(rng, 4) + "F", "passport number X" + _digits(rng, 8),
    ])  # fmt: skip


def date_of_birth(rng: random.Random) -> str:
    day = f"{rng.randrange(1940, 2005)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}"
    return rng.choice([f"date of birth: {day}", f"DOB {day[5:7]}/{day[8:]}/{day[:4]}"])


def crypto_wallet(rng: random.Random) -> str:
    return rng.choice(
        [
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
            "bc1q" + _some(rng, "023456789acdefghjklmnpqrstuvwxyz", 38),
            "0x" + _mixed(rng, _HEX, 40),
        ]
    )


VALUES: dict[str, tuple[Callable[[random.Random], str], ...]] = {
    "PRIVATE_KEY": (private_key,), "JWT": (jwt,), "API_KEY": (api_key,), "PASSWORD": (password,), "BEARER_TOKEN": (bearer,), "EMAIL": (email,),
    "CRYPTO_WALLET": (crypto_wallet,), "MAC_ADDRESS": (mac_address,), "IBAN": (iban,), "CARD": (card,), "SSN": (ssn,),
    "NATIONAL_ID": (national_id,), "DATE_OF_BIRTH": (date_of_birth,), "PHONE": (phone, phone, phone_told), "IP_ADDRESS": (ip_address,),
}  # fmt: skip

# --- what looks like a value -----------------------------------------------------------------------------------------


def _uuid(rng: random.Random, alphabet: str = _HEX) -> str:
    return "-".join(_some(rng, alphabet, count) for count in (8, 4, 4, 4, 12))


def _version(rng: random.Random, parts: int) -> str:
    return ".".join(str(rng.randrange(30)) for _ in range(parts))


def _date(rng: random.Random) -> str:
    return f"20{rng.randrange(10, 30)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}"


NUMBERS: tuple[Callable[[random.Random], str], ...] = (
    lambda rng: f"order {_digits(rng, 12)}", lambda rng: f"order number {_digits(rng, 3)}-{_digits(rng, 7)}-{_digits(rng, 7)}",
    lambda rng: f"request {_uuid(rng)}", lambda rng: f"request {_uuid(rng, string.digits)}", lambda rng: f"version {_version(rng, 4)}", lambda rng: f"commit {_some(rng, _HEX, 40)}",
    lambda rng: f"sha256 {_some(rng, _HEX, 64)}", lambda rng: f"at {rng.uniform(-80, 80):.6f}, {rng.uniform(-170, 170):.6f}",
    lambda rng: f"ISBN 978-{rng.randrange(10)}-{_digits(rng, 2)}-{_digits(rng, 6)}-{rng.randrange(10)}", lambda rng: f"tracking 1Z{_some(rng, string.ascii_uppercase + string.digits, 6)}{_digits(rng, 10)}",
    lambda rng: f"tracking number 9400 1{_digits(rng, 3)} {_digits(rng, 4)} {_digits(rng, 4)} {_digits(rng, 4)} {_digits(rng, 2)}",
    lambda rng: f"{_date(rng)} {rng.randrange(24):02d}:{rng.randrange(60):02d}:{rng.randrange(60):02d}.{_digits(rng, 6)}", lambda rng: f"{_date(rng)}T12:30:00+02:00",
    lambda rng: f"unix time {rng.randrange(1_500_000_000, 1_800_000_000)}", lambda rng: f"epoch ms {rng.randrange(1_500_000_000_000, 1_800_000_000_000)}",
    lambda rng: f"${rng.randrange(1, 999)},{_digits(rng, 3)},{_digits(rng, 3)}.00", lambda rng: f"pi is 3.{_digits(rng, 15)}", lambda rng: f"invoice {_luhn('4' + _digits(rng, 14), valid=False)}",
    lambda rng: f"scores 12 15 18 21 24 27 30 {rng.randrange(99)}", lambda rng: f"lot {_digits(rng, 3)}-{_digits(rng, 2)}-{_digits(rng, 5)}", lambda rng: f"part 000-{_digits(rng, 2)}-{_digits(rng, 4)}",
    lambda rng: f"years 1990-{rng.randrange(1991, 2020)}, 2001-2005", lambda rng: f"flight LH{_digits(rng, 4)} seat 12A gate 4", lambda rng: f"IMEI 35{_digits(rng, 13)}", lambda rng: f"zip 94105-{_digits(rng, 4)}",
    lambda rng: f"EIN-like {_digits(rng, 2)}-{_digits(rng, 5)}", lambda rng: f"page 12 of {_digits(rng, 3)}, line {_digits(rng, 5)}", lambda rng: f"DE{_digits(rng, 2)} {_digits(rng, 4)} {_digits(rng, 4)}", lambda rng: f"doi 10.{_digits(rng, 4)}/{_digits(rng, 8)}",
    lambda rng: f"reference {_digits(rng, 4)}-{_digits(rng, 4)}-{_digits(rng, 4)}", lambda rng: f"SKU-{_digits(rng, 5)}-{_digits(rng, 4)}", lambda rng: f"range 100-{_digits(rng, 3)} and 200-{_digits(rng, 3)}", lambda rng: f"0x{_some(rng, _HEX, 16)}",
)  # fmt: skip
WORDS: tuple[Callable[[random.Random], str], ...] = (
    lambda rng: f"icon@{rng.randrange(2, 4)}x.png", lambda rng: f"{rng.choice(_WORDS)}@{_version(rng, 3)}", lambda rng: f"@{rng.choice(_WORDS)} said so", lambda rng: f"@{rng.choice(_WORDS)}.route('/x')",
    lambda rng: f"git@github.com:{rng.choice(_WORDS)}/{rng.choice(_WORDS)}.git", lambda rng: f"meet {rng.randrange(2, 9)} @ the {rng.choice(_WORDS)}", lambda rng: f"look at {rng.choice(_WORDS)} dot com", lambda rng: f"root@{rng.choice(_WORDS)}",
    lambda rng: "password: required", lambda rng: "password must have 8 characters", lambda rng: "password=${DB_PASSWORD}", lambda rng: "password = os.environ['DB']", lambda rng: "reset your password at the desk",
    lambda rng: "the secret is patience", lambda rng: "password: ********", lambda rng: "api_key=YOUR_API_KEY_GOES_HERE", lambda rng: "token: str = Field(default=None)", lambda rng: "bearer of bad news arrived",
    lambda rng: f"sk-{rng.choice(_WORDS)}-{rng.choice(_WORDS)}-{rng.choice(_WORDS)}-container", lambda rng: "a file that begins with -----BEGIN PRIVATE KEY----- is one", lambda rng: "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\n-----END PUBLIC KEY-----",
    lambda rng: "eyJ is how a token begins", lambda rng: _json64({"page": 12, "next": True}), lambda rng: f"token_{rng.choice(_WORDS)}_count", lambda rng: "ghp_ is the prefix", lambda rng: "AKIA keys are long",
    lambda rng: f"upgraded from {_version(rng, 4)} to {_version(rng, 4)}", lambda rng: f"Chrome/{rng.randrange(90, 130)}.0.{_digits(rng, 4)}.{_digits(rng, 3)}", lambda rng: f"{rng.choice(_WORDS)}-{_version(rng, 4)}.tar.gz", lambda rng: "listen on 127.0.0.1 or 0.0.0.0",
    lambda rng: "mask 255.255.255.0", lambda rng: f"std::{rng.choice(_WORDS)}::new", lambda rng: f"{rng.randrange(10, 24)}:{rng.randrange(10, 60)}:{rng.randrange(10, 60)}", lambda rng: f"ratio {rng.randrange(9)}:{rng.randrange(9)}:{rng.randrange(9)}", lambda rng: f"OID 1.3.6.1.4.1.{_digits(rng, 4)}",
    lambda rng: f"data:image/png;base64,{base64.b64encode(rng.randbytes(48)).decode()}", lambda rng: base64.b64encode(f"the {rng.choice(_WORDS)} is on page {rng.randrange(99)}".encode()).decode(), lambda rng: f"https://example.com/a%20b?q={quote(rng.choice(_WORDS) + ' & more')}",
)  # fmt: skip


def labelled(kind: str, count: int, rng: random.Random) -> Iterator[Labelled]:
    """Yield `count` texts with a value of a kind, and as many in which there is none."""
    negatives = [*NUMBERS, *WORDS]
    for number in range(count):
        value = VALUES[kind][number % len(VALUES[kind])](rng)
        yield Labelled(rng.choice(LEADS).format(value), value, kind)
        value = negatives[number % len(negatives)](rng)
        yield Labelled(rng.choice(LEADS).format(value), value, None)


# --- evasions --------------------------------------------------------------------------------------------------------

_SAID = "zero one two three four five six seven eight nine".split()
_TWINS = str.maketrans("aeopcxiAEOPCX", "аеорсхіАЕОРСХ")
_WIDE = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)})
_ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
_BOLD = {str(digit): chr(0x1D7CE + digit) for digit in range(10)}


def _between(separator: str) -> Callable[[str], str]:
    return lambda value: separator.join(value)


def _broken(value: str) -> str:
    middle = len(value) // 2
    return value[:middle] + "\n" + value[middle:]


EVASIONS: dict[str, Callable[[str], str]] = {
    "zero-width space": _between("\u200b"),
    "zero-width joiner": _between("\u200d"),
    "word joiner": _between("\u2060"),
    "byte order mark": _between("\ufeff"),
    "soft hyphen": _between("\u00ad"),
    "right-to-left mark": lambda value: "\u202e" + value + "\u202c",
    "variation selector": _between("\ufe0f"),
    "combining mark": _between("\u0336"),
    "tag characters": _between("\U000e0041"),
    "full width": lambda value: value.translate(_WIDE),
    "mathematical digits": lambda value: "".join(_BOLD.get(each, each) for each in value),
    "keycap digits": lambda value: "".join(each + "\ufe0f\u20e3" if each.isdigit() else each for each in value),
    "arabic digits": lambda value: value.translate(_ARABIC),
    "look-alike letters": lambda value: value.translate(_TWINS),
    "percent": lambda value: "".join(f"%{ord(each):02X}" for each in value),
    "percent twice": lambda value: "".join(f"%25{ord(each):02X}" for each in value),
    "percent of signs": lambda value: quote(value, safe=""),
    "json escapes": lambda value: "".join(f"\\u{ord(each):04x}" for each in value),
    "json escapes twice": lambda value: "".join(f"\\\\u{ord(each):04x}" for each in value),
    "hexadecimal escapes": lambda value: "".join(f"\\x{ord(each):02x}" for each in value),
    "html decimal": lambda value: "".join(f"&#{ord(each)};" for each in value),
    "html hexadecimal": lambda value: "".join(f"&#x{ord(each):x};" for each in value),
    "html of html": lambda value: "".join(f"&amp;#{ord(each)};" for each in value),
    "html tags": lambda value: f"{value[:5]}<b>{value[5:9]}</b>{value[9:]}",
    "word break tags": _between("<wbr>"),
    "html comment": lambda value: f"{value[:6]}<!-- x -->{value[6:]}",
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 for addresses": lambda value: base64.urlsafe_b64encode(f"user said {value} ok?".encode()).decode(),
    "base64 twice": lambda value: base64.b64encode(base64.b64encode(value.encode())).decode(),
    "base32": lambda value: base64.b32encode(value.encode()).decode(),
    "hexadecimal": lambda value: value.encode().hex(),
    "hexadecimal bytes": lambda value: value.encode().hex(" "),
    "string concatenation": lambda value: f'{value[:6]}" + "{value[6:]}',
    "markdown escapes": lambda value: (
        value.replace(".", "\\.").replace("-", "\\-").replace("@", "\\@").replace("_", "\\_")
    ),
    "markdown bold": lambda value: f"{value[:6]}**{value[6:10]}**{value[10:]}",
    "no-break spaces": lambda value: value.replace(" ", "\u00a0"),
    "typographic dashes": lambda value: value.replace("-", "\u2013"),
}
"""Ways to write any value."""
OF_NUMBERS: dict[str, Callable[[str], str]] = {
    "spaces": _between(" "),
    "dots": _between("."),
    "dashes": _between("-"),
    "slashes": _between("/"),
    "underscores": _between("_"),
    "commas": _between(", "),
    "line break": _broken,
    "line breaks": lambda value: value.replace(" ", "\n").replace("-", "-\n"),
    "letters o and l": lambda value: value.replace("0", "O").replace("1", "l"),
    "spelled": lambda value: " ".join(_SAID[int(each)] for each in value if each.isdigit()),
    "wide gaps": lambda value: value.replace(" ", "   ").replace("-", " - "),
}
"""Ways to write a number."""
OF_ADDRESSES: dict[str, Callable[[str], str]] = {
    "at and dot": lambda value: value.replace("@", " at ").replace(".", " dot "),
    "(at) and (dot)": lambda value: value.replace("@", " (at) ").replace(".", " (dot) "),
    "[at] and [dot]": lambda value: value.replace("@", "[at]").replace(".", "[dot]"),
    "[.]": lambda value: value.replace(".", "[.]").replace("@", "[@]"),
    "AT and DOT": lambda value: value.replace("@", " AT ").replace(".", " DOT "),
    "spaces around": lambda value: value.replace("@", " @ ").replace(".", " . "),
    "line break": lambda value: value.replace("@", "@\n"),
    "entities": lambda value: value.replace("@", "&commat;").replace(".", "&period;"),
    "ideographic dot": lambda value: value.replace(".", "。"),
}
"""Ways to write an e-mail address."""
