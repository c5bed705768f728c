"""Names of sources: when two spellings are one source, and which sources lie below another.

A source is the CloudEvents attribute `source`, a URI reference that the sender writes as it likes. Who is blocked must
not come back by another spelling of the same name.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from urllib.parse import unquote

MOST = 8_192
"""Names that are remembered; the sender chooses how many there are."""
ROUNDS = 4
"""Times that %25 may hide a %."""
_DEFAULT_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Characters that show nothing, of those that Python takes for printable (Default_Ignorable_Code_Point of Unicode)."""
_URI = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/]*))?(.*)", re.DOTALL)
"""Scheme, authority and path (RFC 3986, appendix B), of a name without query and fragment."""
_PLACE = re.compile(r"\A(?:[A-Za-z][A-Za-z0-9+.*?-]*:(?://[^/]*)?|//[^/]*)")
"""Scheme and host of a pattern."""


@lru_cache(MOST)
def canonical(source: str) -> str:
    """Return the name that all spellings of one source have in common.

    After RFC 3986 §6.2.2 and §6.2.3: scheme and host in lower case without user and usual port, percent-encoding
    decoded, no dot segments, no / at the end; beyond it, no query and no fragment, NFKC, and nothing that cannot be
    seen. The case of a path makes a difference, as it does there. A name of which nothing is left stays as it is.
    """
    name = _decoded(source)
    name = re.split(r"[?#]", name, maxsplit=1)[0].strip()
    scheme, authority, path = _parts(name)
    path = _without_dots(path)
    front = (f"{scheme}:" if scheme else "") + (f"//{authority}" if authority else "")
    return front + path or source


def _decoded(source: str) -> str:
    """Return a name without percent-encoding, other forms of letters, and what cannot be seen."""
    for _ in range(ROUNDS):
        plain = unicodedata.normalize("NFKC", unquote(source))
        plain = _BLANK.sub("", "".join(each for each in plain if each.isprintable()))
        if plain == source:
            break
        source = plain
    return source


def _parts(name: str) -> tuple[str, str, str]:
    """Return scheme, authority and path; "" for what there is none of."""
    found = _URI.fullmatch(name)
    assert found is not None, "the expression takes any text"
    scheme, authority, path = ((each or "").strip() for each in found.groups())
    scheme, host = scheme.lower(), authority.rpartition("@")[2].lower()
    host = host.removesuffix(":" + _DEFAULT_PORTS.get(scheme, "")).removesuffix(":").rstrip(".")
    return scheme, host, path


def _without_dots(path: str) -> str:
    """Return a path without empty and dot segments (RFC 3986 §5.2.4), and without a / at its end."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            kept = kept[:-1]
        elif segment not in ("", "."):
            kept.append(segment)
    return ("/" if path.startswith("/") and kept else "") + "/".join(kept)


@lru_cache(MOST)
def places(source: str) -> tuple[str, ...]:
    """Return the canonical name of a source, and those of all that it lies below: what bars them bars it."""
    name = canonical(source)
    _, authority, path = _parts(name)
    root = name.removesuffix(path)
    above = [root + path[:end] for end in range(len(path) - 1, 0, -1) if path[end] == "/"]
    return (name, *above, root) if authority and path else (name, *above)


@lru_cache(MOST)
def canonical_pattern(pattern: str) -> str:
    """Return a pattern (* and ? as in file names) in the spelling of the names that it is compared with."""
    plain = _PLACE.sub(lambda found: found[0].lower(), _decoded(pattern).strip())
    return plain.rstrip("/") or plain


def shown(name: str) -> str:
    """Return a name in which everything can be seen: what cannot stands there as its code."""
    seen = (each if each.isprintable() and not _BLANK.match(each) else ascii(each)[1:-1] for each in name)
    return "".join(seen)
