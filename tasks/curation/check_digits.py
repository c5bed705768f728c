"""Check digits: what makes a run of digits an account or a card."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20,
    "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22,
    "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
    "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
    "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
"""Length of an IBAN by country (ISO 13616 registry)."""


def iban_is_valid(iban: str) -> bool:
    """Check an IBAN without spaces: known country, its length, and mod 97 = 1 (ISO 7064, letters A=10 … Z=35)."""
    if IBAN_LENGTHS.get(iban[:2]) != len(iban) or not iban.isascii() or not iban.isalnum():
        return False
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1


def luhn_is_valid(digits: str) -> bool:
    """Check the Luhn digit (ISO/IEC 7812-1): double every second digit from the right, cast out nines, sum ≡ 0 (10)."""
    total = 0
    for position, character in enumerate(reversed(digits)):
        value = int(character) * (1 + position % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _digits(text: str) -> list[int]:
    return [int(character) for character in text if character.isdecimal()]


def _weighted(text: str, weights: Sequence[int], modulus: int) -> int:
    """Return the weighted sum of the digits of `text` modulo `modulus`; digits without a weight do not count."""
    return sum(weight * digit for weight, digit in zip(weights, _digits(text), strict=False)) % modulus


def _luhn(text: str) -> bool:
    return luhn_is_valid("".join(map(str, _digits(text))))


def _luhn_of_ten(text: str) -> bool:
    return luhn_is_valid("".join(map(str, _digits(text)[-10:])))


def _ean(text: str) -> bool:
    return _weighted(text, (1, 3) * 6 + (1,), 10) == 0


def _mod_11_10(text: str) -> bool:
    """ISO 7064 mod 11,10, as of the German tax number, in which one digit comes more than once."""
    product, digits = 10, _digits(text)
    for digit in digits[:-1]:
        product = 2 * ((product + digit) % 10 or 10) % 11
    return (11 - product) % 10 == digits[-1] and len(set(digits[:10])) in (8, 9)


def _mod_11_2(text: str) -> bool:
    """ISO 7064 mod 11-2, as of the Chinese resident number; `X` is 10."""
    values = [10 if character in "Xx" else int(character) for character in text]
    total = 0
    for value in values:
        total = (2 * total + value) % 11
    return total == 1


def _two_mod_11(text: str, first: Sequence[int], second: Sequence[int]) -> bool:
    """Brazil: the two last digits are the sums of those before, times 10, modulo 11, and 0 for 10."""
    digits = _digits(text)
    ends = [_weighted(text, weights, 11) * 10 % 11 % 10 for weights in (first, second)]
    return ends == digits[-2:] and len(set(digits)) > 1


def _cpf(text: str) -> bool:
    return _two_mod_11(text, range(10, 1, -1), range(11, 1, -1))


def _dni(text: str) -> bool:
    """Spain: the letter is the number modulo 23; X, Y and Z of a foreigner's number are 0, 1 and 2."""
    plain = text.upper().replace("-", "").replace(" ", "").replace(".", "")
    number = int(plain[:-1].translate(str.maketrans("XYZ", "012")))
    return plain[-1] == "TRWAGMYFPDXBNJZSQVHLCKE"[number % 23]


def _nir(text: str) -> bool:
    """France: the last two digits are 97 minus the rest modulo 97; Corsica's 2A and 2B are 19 and 18."""
    plain = text.upper().replace(" ", "").replace("2A", "19").replace("2B", "18")
    return plain.isdecimal() and 97 - int(plain[:-2]) % 97 == int(plain[-2:])


def _rijksregister(text: str) -> bool:
    """Belgium: the last two digits are 97 minus the rest modulo 97, with a 2 before it for those born since 2000."""
    plain = "".join(map(str, _digits(text)))
    return any(97 - int(century + plain[:-2]) % 97 == int(plain[-2:]) for century in ("", "2"))


_ODD = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)


def _codice_fiscale(text: str) -> bool:
    """Italy: values by a table at odd places, by the alphabet at even ones; the sum modulo 26 is the last letter."""
    values = [int(character) if character.isdecimal() else ord(character) - 65 for character in text.upper()]
    return (sum(_ODD[value] for value in values[:-1:2]) + sum(values[1:-1:2])) % 26 == values[-1]


def _hetu(text: str) -> bool:
    """Finland: the nine digits modulo 31 are the last character."""
    return text[-1].upper() == "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(text[:6] + text[7:10]) % 31]


def _nric(text: str) -> bool:
    """Singapore: a weighted sum modulo 11, by the series, is the last letter."""
    total = _weighted(text, (2, 7, 6, 5, 4, 3, 2), 1000) + (4 if text[0] in "TG" else 0)
    return text[-1] == ("JZIHGFEDCBA" if text[0] in "ST" else "XWUTRQPNMLK")[total % 11]


_VERHOEFF = ((0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 5, 7, 6, 2, 8, 3, 0, 9, 4))


def _turned(place: int, digit: int) -> int:
    for _ in range(place % 8):
        digit = _VERHOEFF[1][digit]
    return digit


def _verhoeff(text: str) -> bool:
    """India: the product of all digits in the dihedral group of order 10, turned by their place, is 0."""
    total = 0
    for place, digit in enumerate(reversed(_digits(text))):
        other = _turned(place, digit)
        if total < 5:
            total = (total + other) % 5 + (0 if other < 5 else 5)
        else:
            total = (total - other) % 5 + (5 if other < 5 else 0)
    return total == 0


_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def _base58(text: str) -> bool:
    """Base58Check: the last four of 25 bytes begin the double SHA-256 of those before."""
    number = 0
    for character in text:
        number = number * 58 + _BASE58.index(character)
    if number >= 1 << 200:
        return False
    octets = number.to_bytes(25, "big")
    return hashlib.sha256(hashlib.sha256(octets[:-4]).digest()).digest()[:4] == octets[-4:]


def _digit_after_start(text: str) -> bool:
    return any(character.isdecimal() for character in text[3:])


def _mixed(text: str) -> bool:
    return any(character.isdecimal() for character in text) and any(character.isalpha() for character in text)


def _hexadecimal_letters(text: str) -> bool:
    return len(set(text)) > 8 and any(character in "abcdef" for character in text)


CHECKS: dict[str, Callable[[str], bool]] = {
    "luhn": _luhn,
    "luhn_of_ten": _luhn_of_ten,
    "ean": _ean,
    "mod_11_10": _mod_11_10,
    "mod_11_2": _mod_11_2,
    "cpf": _cpf,
    "cnpj": lambda text: _two_mod_11(
        text, (5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2), (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)
    ),
    "dni": _dni,
    "nir": _nir,
    "rijksregister": _rijksregister,
    "codice_fiscale": _codice_fiscale,
    "hetu": _hetu,
    "nric": _nric,
    "verhoeff": _verhoeff,
    "pesel": lambda text: _weighted(text, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), 10) == 0,
    "elfproef": lambda text: _weighted(text, (9, 8, 7, 6, 5, 4, 3, 2, -1), 11) == 0,
    "nhs": lambda text: _weighted(text, (10, 9, 8, 7, 6, 5, 4, 3, 2, 1), 11) == 0,
    "tfn": lambda text: _weighted(text, (1, 4, 3, 7, 5, 8, 6, 9, 10), 11) == 0,
    "fodselsnummer": lambda text: _weighted(text, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1), 11) == 0,
    "routing": lambda text: _weighted(text, (3, 7, 1, 3, 7, 1, 3, 7, 1), 10) == 0,
    "base58": _base58,
    "digit_after_start": _digit_after_start,
    "mixed": _mixed,
    "hexadecimal_letters": _hexadecimal_letters,
}
"""What a rule's data may ask for by name: is the value, as it stands in the text, one that could have been issued?"""
