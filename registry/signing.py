"""Keys, whom they belong to, and signed statements: DSSE envelopes with ed25519 (securesystemslib).

    KEYS/ratchet.pem          the installation's own key, made on first use, 0600
    KEYS/people/NAME.pem      keys of people who approve, made on first use where they bring none
    KEYS/trusted.json         whose signatures count, for what, and which are revoked

A signature counts when its key is in `trusted.json` for that role and is not revoked. A retired key (`rotate`) signs
nothing new, but what it signed still counts; of a revoked key nothing counts, whenever it says that it signed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from registry.errors import IntegrityError, SettingsError, listed
from registry.files import locked, write_whole
from registry.home import now
from registry.records import Record, canonical_json

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

Role = Literal["sign", "approve"]
"""`sign`: decisions, artifacts, checkpoints, erasures. `approve`: approvals in the name of the key's identity."""
INSTALLATION = "ratchet"
"""Identity of an installation's own key."""
LARGEST_ENVELOPE = 64 << 20
_PERSON = re.compile(r"[^\x00-\x1f/\\]{1,200}")


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


class Keyring:
    """The keys of a home.

    Args:
        folder: Where keys are kept.
        own: The installation's private key, where it is not to be made: a path, or the PEM text itself.
        trusted: File of the keys that count, where it is not `folder`/trusted.json. It is never written then.
    """

    def __init__(self, folder: Path, own: str | None = None, trusted: Path | None = None) -> None:
        self.folder = folder
        self.file = trusted or folder / "trusted.json"
        self._own, self._given = own, trusted is not None

    # --- private keys ------------------------------------------------------------------------------------------------

    def own(self) -> Signer:
        """Return the installation's signer; its key is made on first use.

        Raises:
            SettingsError: E7890 the key cannot be read, E7891 it is given, and not among the given trusted keys.
        """
        if self._own is not None:
            pem = self._own.encode() if "-----BEGIN" in self._own else _read(Path(self._own).expanduser())
            return self._counted(_signer(INSTALLATION, pem, "the signing key that the settings name"), ("sign",))
        return self._kept(INSTALLATION, self.folder / "ratchet.pem", ("sign",))

    def person(self, name: str, key: Path | None = None) -> Signer:
        """Return somebody's signer: of the key in a file, or of the one in the home, made on first use.

        Where other keys of this name count already, a new one is not made: it would let anybody take the name.

        Raises:
            SettingsError: E7890 the key cannot be read, E7891 its holder is not trusted with this name, E7892 the name
                cannot be anybody's.
        """
        if not _PERSON.fullmatch(name) or name in {".", ".."}:
            raise SettingsError("E7892", f"{name[:80]!r} cannot be a name", "use letters, digits and spaces")
        if key is not None:
            return self._counted(_signer(name, _read(key.expanduser()), str(key)), ("approve",))
        return self._kept(name, self.folder / "people" / f"{name}.pem", ("approve",))

    def _kept(self, identity: str, path: Path, roles: tuple[Role, ...]) -> Signer:
        from securesystemslib.signer import CryptoSigner

        if not path.exists():
            with self._locked():
                if not path.exists():  # else somebody else made it meanwhile
                    self._may_be(identity, roles)
                    _write_private(path, CryptoSigner.generate_ed25519().private_bytes)
        return self._counted(_signer(identity, _read(path), str(path)), roles)

    def _may_be(self, identity: str, roles: tuple[Role, ...]) -> None:
        """Refuse to make a key for a name that others' keys stand for."""
        theirs = [
            key for key in self._listed() if key.identity == identity and {*roles} & {*key.roles} and not key.revoked
        ]
        if theirs and roles == ("approve",):
            raise SettingsError(
                "E7891",
                f"{identity} signs with the key {theirs[0].key_id[:12]}, which is not in this home",
                "name the file that holds it with --key",
            )

    def _counted(self, signer: Signer, roles: tuple[Role, ...]) -> Signer:
        """Return the signer once its key counts for its identity; a first key of a name is trusted on first use."""
        found = self.trust().keys.get(signer.key_id)
        if found is not None and found.identity == signer.identity and {*roles} <= {*found.roles}:
            return signer
        others = [key for key in self._listed() if key.identity == signer.identity and not key.revoked]
        if self._given or found is not None or (others and roles == ("approve",)):
            raise SettingsError(
                "E7891",
                f"the key {signer.key_id[:12]} is not trusted to {' and '.join(roles)} as {signer.identity}",
                f"let who keeps {self.file} add it: `ratchet keys trust`",
            )
        self._add(_trusted(signer, roles))
        return signer

    # --- whose signatures count --------------------------------------------------------------------------------------

    def trust(self) -> Trust:
        """Return the keys that count now.

        Raises:
            IntegrityError: E7944 the file cannot be read.
        """
        return Trust(self._listed())

    def add(self, public: str, identity: str, roles: tuple[Role, ...]) -> TrustedKey:
        """Trust a public key (PEM, or 64 hexadecimal digits) for an identity; it may be trusted already."""
        from securesystemslib.signer import SSlibKey

        key = SSlibKey("", "ed25519", "ed25519", {"public": _public_hex(public)})
        found = TrustedKey(
            key_id=_key_id(key), public=key.keyval["public"], identity=identity, roles=roles, added=now()
        )  # fmt: skip
        self._add(found)
        return found

    def rotate(self) -> Signer:
        """Make a new key for the installation. What the old one signed still counts."""
        if self._own is not None:
            raise SettingsError(
                "E7893", "the signing key is given by the settings", "put another key there, and trust it"
            )
        path, old = self.folder / "ratchet.pem", self.own()
        with self._locked():
            path.rename(path.with_name(f"ratchet-{old.key_id[:12]}.pem"))
        fresh = self.own()
        self._change(old.key_id, retired=now())
        return fresh

    def revoke(self, key_id: str, reason: str) -> TrustedKey:
        """Let nothing count any more that a key signed, whenever it did. `key_id` may be its beginning.

        Raises:
            SettingsError: E7894 no key, or several, begin so.
        """
        found = [key for key in self._listed() if key.key_id.startswith(key_id) and key_id]
        if len(found) != 1:
            known = listed([f"{key.key_id[:12]} ({key.identity})" for key in self._listed()]) or "none"
            raise SettingsError("E7894", f"{len(found)} keys begin with {key_id!r}", f"known are: {known}")
        return self._change(found[0].key_id, revoked=now(), reason=reason)

    def _listed(self) -> list[TrustedKey]:
        try:
            return [TrustedKey.model_validate(key) for key in json.loads(self.file.read_bytes())["keys"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise IntegrityError(
                "E7944",
                f"the list of trusted keys {self.file} cannot be read: {str(error)[:200]}",
                "restore it from a backup; without it no signature counts",
            ) from error

    def _add(self, key: TrustedKey) -> None:
        with self._locked():
            kept = [other for other in self._listed() if other.key_id != key.key_id]
            self._write([*kept, key])

    def _change(self, key_id: str, **changes: str) -> TrustedKey:
        with self._locked():
            keys = [key.model_copy(update=changes) if key.key_id == key_id else key for key in self._listed()]
            self._write(keys)
        return next(key for key in keys if key.key_id == key_id)

    def _write(self, keys: Sequence[TrustedKey]) -> None:
        if self._given:
            raise SettingsError(
                "E7893", f"the trusted keys are given by {self.file}", "change that file where it is kept"
            )
        body = {"keys": [key.model_dump(mode="json") for key in keys]}
        write_whole(self.file, (json.dumps(body, indent=2) + "\n").encode())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self.folder / ".lock"):
            yield


# --- parts ---------------------------------------------------------------------------------------------------------


def _parsed(envelope: str, payload_type: str) -> Any:
    from securesystemslib.dsse import Envelope

    try:
        if len(envelope) > LARGEST_ENVELOPE:
            raise ValueError("it is too large")
        parsed = Envelope.from_dict(json.loads(envelope))
        if parsed.payload_type != payload_type:
            raise ValueError(f"it is a {str(parsed.payload_type)[:80]!r}")
        if not isinstance(json.loads(parsed.payload), dict):
            raise ValueError("its content is no object")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise IntegrityError(
            "E7940",
            f"it is no signed envelope of type {payload_type}: {str(error)[:120]}",
            "restore it from a backup",
        ) from None
    return parsed


def _signer(identity: str, pem: bytes, where: str) -> Signer:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    try:
        crypto = CryptoSigner(load_pem_private_key(pem, None))  # type: ignore[arg-type]
        if crypto.public_key.keytype != "ed25519":
            raise ValueError(f"it is an {crypto.public_key.keytype} key")
    except (ValueError, TypeError, AttributeError) as error:
        raise SettingsError(
            "E7890", f"{where} holds no ed25519 private key: {str(error)[:120]}", "give a PEM file without password"
        ) from None
    return Signer(identity, crypto.public_key.keyid, crypto)


def _trusted(signer: Signer, roles: tuple[Role, ...]) -> TrustedKey:
    public = signer.crypto.public_key.keyval["public"]
    return TrustedKey(key_id=signer.key_id, public=public, identity=signer.identity, roles=roles, added=now())


def _public(key: TrustedKey) -> SSlibKey:
    from securesystemslib.signer import SSlibKey

    return SSlibKey(key.key_id, "ed25519", "ed25519", {"public": key.public})


def _key_id(key: SSlibKey) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from securesystemslib.signer import SSlibKey as Key

    return str(Key.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))).keyid)


def _public_hex(public: str) -> str:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    try:
        if "-----BEGIN" in public:
            return str(SSlibKey.from_crypto(load_pem_public_key(public.encode())).keyval["public"])  # type: ignore[arg-type]
        if re.fullmatch(r"[0-9a-fA-F]{64}", public.strip()):
            return public.strip().lower()
    except (ValueError, TypeError):
        pass
    raise SettingsError("E7890", "it holds no ed25519 public key", "give PEM, or 64 hexadecimal digits")


def _short(key_ids: Mapping[str, object]) -> str:
    return listed([f"the key {key_id[:12]}" for key_id in key_ids], 3) or "nobody"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(
            "E7890", f"the key {path} cannot be read: {error.strerror or error}", "check its path and permissions"
        ) from error


def _write_private(path: Path, pem: bytes) -> None:
    """Write a private key that only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_name(f".{path.name}.part")
    aside.unlink(missing_ok=True)  # of a process that was killed
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(pem)
        stream.flush()
        os.fsync(stream.fileno())
    aside.rename(path)
