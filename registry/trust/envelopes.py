"""Signed statements: DSSE envelopes with ed25519 (securesystemslib), and whose signatures count."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from registry.errors import IntegrityError, SettingsError, listed
from registry.home import now
from registry.records import Record, canonical_json

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

Role = Literal["sign", "approve"]
"""`sign`: decisions, artifacts, checkpoints, erasures. `approve`: approvals in the name of the key's identity."""
LARGEST_ENVELOPE = 64 << 20


class TrustedKey(Record):
    """A public key, and what its signatures count for."""

    key_id: str
    """sha256 of the public key, as securesystemslib counts it."""
    public: str
    """The 32 bytes of the ed25519 public key, in hexadecimal."""
    identity: str
    roles: tuple[Role, ...]
    added: str
    retired: str | None = None
    revoked: str | None = None
    reason: str = ""
    """Why it was revoked."""
    first_use: bool = False
    """Whether it counts only because it was the first of its name."""


class Signed(NamedTuple):
    """What an envelope holds, and who signed it."""

    payload: dict[str, Any]
    identity: str
    key_id: str


class Signer(NamedTuple):
    """A private key in the hands of somebody."""

    identity: str
    key_id: str
    crypto: CryptoSigner

    def sign(self, payload: Mapping[str, Any], payload_type: str) -> str:
        """Return the DSSE envelope of `payload` as canonical JSON, signed by this key."""
        from securesystemslib.dsse import Envelope

        envelope = Envelope(canonical_json(payload).encode(), payload_type, {})
        envelope.sign(self.crypto)
        return canonical_json(envelope.to_dict())


class Trust:
    """The public keys that count."""

    def __init__(self, keys: Sequence[TrustedKey]) -> None:
        self.keys = {key.key_id: key for key in keys}

    def opened(self, envelope: str, payload_type: str, role: Role = "sign") -> Signed:
        """Return what an envelope holds, if a key signed it whose signature counts.

        Raises:
            IntegrityError: E7940 it is no envelope of this type, E7941 its signature is not that of its content, E7942
                its key is not trusted for this, E7943 its key is revoked.
        """
        from securesystemslib.exceptions import VerificationError

        parsed = _parsed(envelope, payload_type)
        signing = [self.keys[key_id] for key_id in parsed.signatures if key_id in self.keys]
        known = [key for key in signing if role in key.roles]
        if not known:
            raise IntegrityError(
                "E7942",
                f"it is signed by {_short(parsed.signatures)}, which nobody here trusts to {role}",
                "add the key with `ratchet keys trust`, if you know whose it is",
            )
        good = [key for key in known if key.revoked is None]
        if not good:
            raise IntegrityError(
                "E7943",
                f"the key {known[0].key_id[:12]} of {known[0].identity} that signed it was revoked on "
                f"{known[0].revoked}: {known[0].reason}",
                "use what another key signed, or look at it again and sign it anew with `ratchet sign`",
            )
        try:
            accepted = next(iter(parsed.verify([_public(key) for key in good], 1)))
        except VerificationError:
            raise IntegrityError(
                "E7941",
                f"the signature of {good[0].identity} is not that of its content",
                "it was changed after it was signed: restore it from a backup",
            ) from None
        return Signed(json.loads(parsed.payload), self.keys[accepted].identity, accepted)


# --- parts ---------------------------------------------------------------------------------------------------------


def _parsed(envelope: str, payload_type: str) -> Any:
    from securesystemslib.dsse import Envelope

    try:
        if len(envelope) > LARGEST_ENVELOPE:
            raise ValueError("it is too large")
        body = json.loads(envelope)
        if not (isinstance(body, dict) and isinstance(body.get("signatures"), list)):
            raise ValueError("it is no object with payload, payloadType and signatures")
        if any(not isinstance(each, dict) for each in body["signatures"]):
            raise ValueError("its signatures are none")
        parsed = Envelope.from_dict(body)
        if parsed.payload_type != payload_type:
            raise ValueError(f"it is a {str(parsed.payload_type)[:80]!r}")
        if not isinstance(json.loads(parsed.payload), dict):
            raise ValueError("its content is no object")
        if not parsed.signatures:
            raise ValueError("nobody signed it")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)[:120]
        raise IntegrityError(
            "E7940",
            f"it is no signed envelope of type {payload_type}: {why}",
            "restore it from a backup, or have it signed again by who made it",
        ) from None
    return parsed


def signer_of(identity: str, pem: bytes, where: str) -> Signer:
    """Return the signer of a private key in PEM.

    Raises:
        SettingsError: E7890 it is none, or of another kind.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    try:
        crypto = CryptoSigner(load_pem_private_key(pem, None))
        if crypto.public_key.keytype != "ed25519":
            raise ValueError(f"it is an {crypto.public_key.keytype} key")
    except (ValueError, TypeError, AttributeError) as error:
        raise SettingsError(
            "E7890", f"{where} holds no ed25519 private key: {str(error)[:120]}", "give a PEM file without password"
        ) from None
    return Signer(identity, crypto.public_key.keyid, crypto)


def trusted_key(signer: Signer, roles: tuple[Role, ...], *, first_use: bool = False) -> TrustedKey:
    """Return a signer's public key as one that counts from now on."""
    public = signer.crypto.public_key.keyval["public"]
    return TrustedKey(
        key_id=signer.key_id, public=public, identity=signer.identity, roles=roles, added=now(), first_use=first_use
    )  # fmt: skip


def _public(key: TrustedKey) -> SSlibKey:
    from securesystemslib.signer import SSlibKey

    return SSlibKey(key.key_id, "ed25519", "ed25519", {"public": key.public})


def key_of(public: str) -> SSlibKey:
    """Return the key of 64 hexadecimal digits, with the id that securesystemslib gives it."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from securesystemslib.signer import SSlibKey

    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)))


def public_hex(public: str) -> str:
    """Return a public key, given as PEM or as 64 hexadecimal digits, as the latter.

    Raises:
        SettingsError: E7890 it is neither.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    try:
        if "-----BEGIN" in public:
            return str(SSlibKey.from_crypto(load_pem_public_key(public.encode())).keyval["public"])
        if re.fullmatch(r"[0-9a-fA-F]{64}", public.strip()):
            return public.strip().lower()
    except (ValueError, TypeError):
        pass
    raise SettingsError("E7890", "it holds no ed25519 public key", "give PEM, or 64 hexadecimal digits")


def _short(key_ids: Mapping[str, object]) -> str:
    return listed([f"the key {key_id[:12]}" for key_id in key_ids], 3)
