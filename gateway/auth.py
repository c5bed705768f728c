"""Who may do what: bearer tokens with scopes, compared in constant time; and the keys of models served elsewhere."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import stat
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.problems import FORBIDDEN, UNAUTHORIZED, WRONG_HOST, Problem
from registry.errors import SettingsError, listed

SCOPES = ("ingest", "infer", "admin")
"""`ingest` sends events and feedback, `infer` asks models, `admin` may do all."""
SHORTEST = 16
"""Characters of a token; a shorter one can be guessed."""
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Caller(NamedTuple):
    """Who asks: a name to count by (never the token), and what they may do."""

    name: str
    scopes: frozenset[str]


class _Token(NamedTuple):
    digest: bytes
    caller: Caller


class Tokens:
    """The tokens that are known. Without any, everybody who can connect may do everything."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def caller(self, authorization: str | None, address: str) -> Caller:
        """Return who asks.

        Every known token is compared, and digests of equal length at that, so that the time tells nothing.

        Raises:
            Problem: 401 where a token is missing or not known.
        """
        if not self._tokens:
            return Caller(address, frozenset(SCOPES))
        scheme, _, given = (authorization or "").partition(" ")
        digest = hashlib.sha256(given.strip().encode("utf-8", "surrogateescape")).digest()
        found = [token.caller for token in self._tokens if hmac.compare_digest(token.digest, digest)]
        if scheme.lower() != "bearer" or not found:
            what = "no bearer token was given" if not authorization else "the bearer token is not known"
            todo = "send the header `Authorization: Bearer TOKEN` with a token of the gateway's file"
            raise Problem(UNAUTHORIZED, what, todo, {"www-authenticate": 'Bearer realm="ratchet"'})
        return found[0]


def require(caller: Caller, scope: str) -> None:
    """Refuse a caller that has neither `scope` nor `admin`.

    Raises:
        Problem: 403.
    """
    if scope not in caller.scopes and "admin" not in caller.scopes:
        challenge = {"www-authenticate": f'Bearer realm="ratchet", error="insufficient_scope", scope="{scope}"'}
        raise Problem(FORBIDDEN, f"this token lacks the scope {scope}", f"use one with {scope} or admin", challenge)


def check_host(host: str | None) -> None:
    """Refuse a foreign Host header, for a gateway without tokens: a page in a browser could reach it by another name.

    Raises:
        Problem: 421.
    """
    value = host or ""
    name = value.rpartition(":")[0] if value[-1:].isdigit() and ":" in value and not value.endswith("]") else value
    if name.lower() not in LOCAL_NAMES and not is_loopback(name):
        todo = "ask it as localhost or 127.0.0.1, or give it tokens"
        raise Problem(WRONG_HOST, f"this gateway has no tokens and is not known as {name!r}", todo)


def is_loopback(host: str) -> bool:
    """Return whether an address is this machine's own."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def load_tokens(path: Path | None, host: str) -> Tokens:
    """Read the file of tokens: `TOKEN SCOPE[,SCOPE…]` a line; blank lines and those that begin with `#` are skipped.

    Raises:
        SettingsError: E7870 no token and an address that others reach, E7871 the file cannot be read, others may read
            it, or its lines are wrong; no message repeats a token.
    """
    tokens = _read(path) if path is not None else []
    if not tokens and not is_loopback(host):
        raise SettingsError(
            "E7870",
            f"the gateway has no tokens and would listen on {host}, where anybody may ask it",
            "name a file of tokens in RATCHET_GATEWAY_TOKENS, or listen on 127.0.0.1",
        )
    return Tokens(tokens)


def load_keys(path: Path | None) -> dict[str, str]:
    """Read the file of API keys for models that are served elsewhere: `ADDRESS KEY` a line; return origin → key.

    A key goes to its own scheme, host and port only: whoever may set a tag in MLflow must not learn it.

    Raises:
        SettingsError: E7871 the file cannot be read, others may read it, or its lines are wrong; no message repeats a
            key.
    """
    if path is None:
        return {}
    lines, faults = _secrets(path, "endpoint keys", "RATCHET_GATEWAY_ENDPOINT_KEYS")
    keys: dict[str, str] = {}
    for number, words in lines:
        origin = origin_of(words[0])
        if len(words) != 2 or not words[1].isascii():
            faults.append(f"line {number} is not an address and its key")
        elif origin is None:
            faults.append(f"line {number} begins with no address such as https://HOST")
        elif origin in keys:
            faults.append(f"line {number} repeats an address")
        else:
            keys[origin] = words[1]
    if faults:
        raise SettingsError(
            "E7871", f"the file of endpoint keys {path}: {listed(faults)}", "write `ADDRESS KEY` a line"
        )
    return keys


def origin_of(address: str) -> str | None:
    """Return scheme, host and port of an address, None where it has none."""
    try:
        parts = urlsplit(address)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.hostname}:{port}" if port and parts.hostname else None


def _secrets(path: Path, kind: str, variable: str) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """Return the words of each line of a file of secrets by its number, and what is wrong with the file as a whole."""
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        what = f"the file of {kind} {path} cannot be read: {reason}"
        raise SettingsError("E7871", what, f"correct {variable}") from None
    faults = ["every user of this machine may read it (`chmod 600` it)"] if mode & stat.S_IROTH else []
    said = [(number, line.split()) for number, line in enumerate(lines, 1)]
    return [(number, words) for number, words in said if words and not words[0].startswith("#")], faults


def _read(path: Path) -> list[_Token]:
    lines, faults = _secrets(path, "tokens", "RATCHET_GATEWAY_TOKENS")
    tokens: dict[bytes, _Token] = {}
    for number, words in lines:
        token = _token(number, words, faults)
        if token is not None and token.digest in tokens:
            faults.append(f"line {number} repeats a token")
        elif token is not None:
            tokens[token.digest] = token
    if not tokens and not faults:
        faults.append("it has no token")
    if faults:
        raise SettingsError(
            "E7871", f"the file of tokens {path}: {listed(faults)}", "write `TOKEN SCOPE[,SCOPE...]` a line"
        )
    return list(tokens.values())


def _token(number: int, words: list[str], faults: list[str]) -> _Token | None:
    if len(words) != 2:
        faults.append(f"line {number} is not a token and its scopes")
        return None
    secret, scopes = words[0], frozenset(words[1].split(","))
    if unknown := sorted(scopes - set(SCOPES)):
        faults.append(f"line {number} has no such scope as {listed(unknown)}; there are {listed(SCOPES)}")
    if len(secret) < SHORTEST or not secret.isascii():
        faults.append(f"line {number} has a token that is not at least {SHORTEST} ASCII characters long")
    return _Token(hashlib.sha256(secret.encode()).digest(), Caller(f"token {number}", scopes))
