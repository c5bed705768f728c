"""Keys, and whom they belong to. `registry.trust.envelopes` has what they sign.

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
from collections.abc import Iterator, Sequence
from pathlib import Path

from registry.errors import IntegrityError, SettingsError, listed
from registry.files import locked, write_whole
from registry.home import now
from registry.names import check_person, same_person
from registry.trust.envelopes import Role, Signed, Signer, Trust, TrustedKey, key_of, public_hex, signer_of, trusted_key

__all__ = ["INSTALLATION", "Keyring", "Role", "Signed", "Signer", "Trust", "TrustedKey"]

INSTALLATION = "ratchet"
"""Identity of an installation's own key."""


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
            SettingsError: E7890 the key cannot be read, E7891 it is given, and not among the given trusted keys, E7895
                it was retired or revoked.
        """
        if self._own is not None:
            pem = self._own.encode() if "-----BEGIN" in self._own else _read(Path(self._own).expanduser())
            return self._counted(signer_of(INSTALLATION, pem, "the signing key that the settings name"), ("sign",))
        return self._kept(INSTALLATION, self._home_key(INSTALLATION), ("sign",))

    def person(self, name: str, key: Path | None = None, *, first_use: bool = True) -> Signer:
        """Return somebody's signer: of the key in a file, or of the one in the home, made on first use.

        Where other keys of this name count already, a new one is not made: it would let anybody take the name. Every
        spelling of a name is the one under which its first key is known.

        Args:
            name: Whose.
            key: File of their private key, where it is not the one in the home.
            first_use: Whether a key counts because it is the first of its name. Without it, somebody must have trusted
                it for this name before.

        Raises:
            SettingsError: E7890 the key cannot be read, E7891 its holder is not trusted with this name, E7892 the name
                cannot be anybody's, E7895 the key was retired or revoked.
        """
        check_person(name)
        if same_person(name, INSTALLATION):
            raise SettingsError("E7892", f"{name} is the installation itself, and nobody", "give a person's name")
        known, identity = self._of(name, ("approve",)), self._spelled(name)
        if not first_use and all(each.first_use or each.revoked or each.retired for each in known):
            raise SettingsError(
                "E7891",
                f"nobody trusted a key of {name} yet, and the policy names who may approve",
                f"let who keeps the keys do so: `ratchet keys trust PUBLIC_KEY --as '{name}'`",
            )
        path = self._home_key(identity) if key is None else key.expanduser()
        if key is None:
            signer = self._kept(identity, path, ("approve",))
        else:
            signer = self._counted(signer_of(identity, _read(path), str(key)), ("approve",))
        if not first_use:
            self.check_vouched(signer.key_id, identity)
        return signer

    def check_vouched(self, key_id: str, identity: str) -> None:
        """Refuse a key that counts only because it was the first of its name.

        Raises:
            SettingsError: E7891.
        """
        key = self.trust().keys.get(key_id)
        if key is None or key.first_use:
            raise SettingsError(
                "E7891",
                f"the key {key_id[:12]} of {identity} was trusted on first use, and the policy names who may approve",
                f"let who keeps the keys trust it: `ratchet keys trust PUBLIC_KEY --as '{identity}'`",
            )

    def _spelled(self, name: str) -> str:
        """Return a name in the spelling under which its first key is known."""
        if same_person(name, INSTALLATION):
            return INSTALLATION
        known = self._of(name, ("approve",))
        return known[0].identity if known else name

    def _home_key(self, identity: str) -> Path:
        return self.folder / "ratchet.pem" if identity == INSTALLATION else self.folder / "people" / f"{identity}.pem"

    def _kept(self, identity: str, path: Path, roles: tuple[Role, ...]) -> Signer:
        if not path.exists():
            with self._locked():
                if not path.exists():  # else somebody else made it meanwhile
                    self._may_be(identity, roles)
                    made = _made(identity, path)
                    if not self._given:
                        self._write([*self._listed(), trusted_key(made, roles, first_use=roles == ("approve",))])
        return self._counted(signer_of(identity, _read(path), str(path)), roles)

    def _may_be(self, identity: str, roles: tuple[Role, ...]) -> None:
        """Refuse to make a key for a name that others' keys stand for, or stood for until they were revoked."""
        theirs = self._of(identity, roles)
        if theirs and roles == ("approve",):
            raise SettingsError(
                "E7891",
                f"{identity} signs with the key {theirs[0].key_id[:12]}, which is not in this home",
                "name the file that holds it with --key, or make a new one with `ratchet keys rotate`",
            )

    def _of(self, identity: str, roles: tuple[Role, ...]) -> list[TrustedKey]:
        return [key for key in self._listed() if same_person(key.identity, identity) and {*roles} & {*key.roles}]

    def _counted(self, signer: Signer, roles: tuple[Role, ...]) -> Signer:
        """Return the signer once its key counts for its identity; a first key of a name is trusted on first use."""
        found = self.trust().keys.get(signer.key_id)
        if found is not None and (found.revoked or found.retired):
            what = f"revoked: {found.reason}" if found.revoked else "retired"
            raise SettingsError(
                "E7895",
                f"the key {found.key_id[:12]} of {found.identity} signs nothing new: it was {what}",
                "make a new one with `ratchet keys rotate`, or name another",
            )
        if found is not None and same_person(found.identity, signer.identity) and {*roles} <= {*found.roles}:
            return signer._replace(identity=found.identity)
        if self._given or found is not None or (roles == ("approve",) and self._of(signer.identity, roles)):
            raise SettingsError(
                "E7891",
                f"the key {signer.key_id[:12]} is not trusted to {' and '.join(roles)} as {signer.identity}",
                f"let who keeps {self.file} add its public key {signer.crypto.public_key.keyval['public']}",
            )
        self._add(trusted_key(signer, roles, first_use=roles == ("approve",)))
        return signer

    # --- whose signatures count --------------------------------------------------------------------------------------

    def trust(self) -> Trust:
        """Return the keys that count now.

        Raises:
            IntegrityError: E7944 the file cannot be read.
        """
        return Trust(self._listed())

    def add(self, public: str, identity: str, roles: tuple[Role, ...]) -> TrustedKey:
        """Trust a public key (PEM, or 64 hexadecimal digits) for an identity; what it counts for already stays.

        Raises:
            SettingsError: E7890 it is no public key, E7892 the name cannot be anybody's, E7893 the list is given by the
                settings, E7895 the key was revoked, or is somebody else's.
        """
        check_person(identity)
        if same_person(identity, INSTALLATION) and (identity != INSTALLATION or "approve" in roles):
            raise SettingsError("E7892", f"{identity} is the installation itself, and nobody", "give a person's name")
        key = key_of(public_hex(public))
        with self._locked():
            known = {other.key_id: other for other in self._listed()}
            found = known.get(key.keyid)
            if found is not None and (found.revoked or not same_person(found.identity, identity)):
                what = f"was revoked: {found.reason}" if found.revoked else f"is that of {found.identity}"
                raise SettingsError("E7895", f"the key {key.keyid[:12]} {what}", "trust another key")
            fresh = TrustedKey(
                key_id=key.keyid, public=key.keyval["public"], identity=identity, roles=roles, added=now()
            )  # fmt: skip
            if found is not None:
                fresh = found.model_copy(update={"roles": tuple(sorted({*found.roles, *roles})), "first_use": False})
            self._write(list((known | {fresh.key_id: fresh}).values()))
        return fresh

    def rotate(self, identity: str = INSTALLATION) -> Signer:
        """Make a new key for the installation, or for a person. What the old one signed counts unless it is revoked.

        Raises:
            SettingsError: E7892 the name cannot be anybody's, E7893 keys or trust are given by the settings.
        """
        check_person(identity)
        identity = self._spelled(identity)
        roles: tuple[Role, ...] = ("sign",) if identity == INSTALLATION else ("approve",)
        if self._given or (self._own is not None and identity == INSTALLATION):
            raise SettingsError(
                "E7893", "keys and trust are given by the settings", "put another key there, and trust it there"
            )
        path = self._home_key(identity)
        with self._locked():
            for old in self._of(identity, roles):
                if old.retired is None and old.revoked is None:
                    self._change(old.key_id, retired=now())
            if path.exists():
                old_id = signer_of(identity, _read(path), str(path)).key_id
                path.rename(path.with_name(f"{path.stem}-{old_id[:12]}.pem"))
            fresh = _made(identity, path)
            self._write([*self._listed(), trusted_key(fresh, roles)])
        return fresh

    def revoke(self, key_id: str, reason: str) -> TrustedKey:
        """Let nothing count any more that a key signed, whenever it did. `key_id` may be its beginning.

        Raises:
            SettingsError: E7894 no key, or several, begin so, E7896 it was revoked before.
        """
        found = [key for key in self._listed() if key.key_id.startswith(key_id) and key_id.strip()]
        if len(found) != 1:
            known = listed([f"{key.key_id[:12]} ({key.identity})" for key in self._listed()]) or "none"
            what = f"{len(found)} keys begin with {key_id!r}" if key_id.strip() else "no key was named"
            raise SettingsError("E7894", what, f"known are: {known}")
        with self._locked():
            now_ = next(key for key in self._listed() if key.key_id == found[0].key_id)
            if now_.revoked is not None:
                raise SettingsError(
                    "E7896",
                    f"the key {now_.key_id[:12]} of {now_.identity} was revoked on {now_.revoked[:19]}: {now_.reason}",
                    "nothing is left to do; what was said then stays",
                )
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


def _made(identity: str, path: Path) -> Signer:
    """Make a key, keep it, and return its signer."""
    from securesystemslib.signer import CryptoSigner

    _write_private(path, CryptoSigner.generate_ed25519().private_bytes)
    return signer_of(identity, _read(path), str(path))


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
