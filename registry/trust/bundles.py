"""Signed bundles: what was trained on what, and what was decided about it, as in-toto statements in DSSE envelopes.

    attest, sign                  training: the files of a version, what they were made of, and by whom
    promote, reject, rollback, …  decision: the gates with their evidence, and which version has which alias and stage

The bundles of a model form a chain: each has a serial and the digest of the one before. The newest that says something
of an alias or a stage holds, so that an old version that is put back under an alias is seen, however well it is signed.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from registry.artifacts import code_digest, folder_digest, local_model, present
from registry.errors import IntegrityError
from registry.history import History
from registry.models import ModelRegistry
from registry.records import ModelVersion
from registry.trust.bundle_store import BundleStore
from registry.trust.endpoints import Endpoint, check_endpoint, endpoint_of
from registry.trust.recorded import as_recorded, recorded
from registry.trust.signing import Keyring
from registry.trust.statements import (
    ATTEST,
    ATTESTING,
    DECISION,
    SIGN,
    TRAINING,
    Bundle,
    carried,
    elsewhere,
    named,
    named_subjects,
    of_this,
    payload_of,
    quarantined,
    resigned,
    unknown,
    unsigned,
)
from registry.trust.subjects import Subjects, subjects_of, verify


class Bundles:
    """The bundles of the models of one registry.

    Args:
        url: The database of records.
        keyring: Signs, and says whose signatures count.
        registry: Opens the models; called once files are looked at.
    """

    def __init__(self, url: str, keyring: Keyring, registry: Callable[[], ModelRegistry]) -> None:
        self.keyring = keyring
        self.store = BundleStore(url, keyring)
        self._history = History(url)
        self._registry = registry

    def of(self, model: str, version: str | None = None, action: str | None = None) -> list[Bundle]:
        """Return the bundles of a model, or of one version, or of one action, oldest first; bad ones say why."""
        return self.store.of(model, version, action)

    # --- what was trained --------------------------------------------------------------------------------------------

    def attest(
        self, version: ModelVersion, training: Mapping[str, Any], *, by: str, run_id: str | None = None
    ) -> Bundle:
        """Sign the files of a version that was just registered, and what it was trained on; once a version.

        Args:
            version: The version.
            training: How it was trained: policy, seed, strategy, version of the code.
            by: Who started the training.
            run_id: Ratchet's run.

        Raises:
            IntegrityError: E7924, E7925 its files are not those that were registered, E7946 they are no plain files.
            SettingsError: E789x there is no key to sign with.
        """
        key = f"{ATTEST}:{version.name}:{version.version}:{version.model_id}"
        found = self.store.kept(key)
        if found is not None:
            return found
        self._registry().artifact(version)
        facts = self._elsewhere(version) | {"training": dict(training), "by": by, "run_id": run_id, "reason": "trained"}
        facts |= {"aliases": {}, "stages": {version.version: "development"}}
        return self._sign_files(version, key, ATTEST, facts)

    def reattest(self, version: ModelVersion, reason: str, by: str = "ratchet") -> Bundle:
        """Sign the files of a version as they are now, after they were changed on purpose, such as by an erasure.

        The digests of them in MLflow follow. Repeat it where it was interrupted: the same files are signed once.

        Raises:
            IntegrityError: E7924 files are missing, E7946 they are no plain files.
            SettingsError: E789x there is no key to sign with.
        """
        folder = self.folder(version)
        digests = {"artifact_digest": folder_digest(present(version, folder)), "code_digest": code_digest(folder)}
        after = version.model_copy(update=digests)
        bundle = self.store.last_attested(version.name, version.version)
        if bundle is None or bundle.problem or bundle.subjects != subjects_of(folder, named(version)):
            bundle = self._sign_files(after, uuid.uuid4().hex, ATTEST, self._carried(version, reason, by))
        with self._registry().connection.explained() as client:
            for name, value in digests.items():
                client.set_model_version_tag(version.name, version.version, name, value)
        return bundle

    def sign(self, version: ModelVersion, reason: str, by: str) -> Bundle:
        """Sign a version again with the installation's key, once somebody looked at it: after a key was revoked.

        Its files must be those that were registered and signed before. Stage and aliases are signed as they were
        recorded, and where it is served elsewhere, that as well.

        Raises:
            IntegrityError: E7924, E7925, E7946 its files are others, E7947, E7949, E7954 its aliases or its stage are
                not those that were recorded, E7948 decisions are missing, E7927 its endpoint is no address.
            SettingsError: E789x there is no key to sign with.
        """
        facts = self._carried(version, reason, by) | self._elsewhere(version)
        if facts["endpoint"] is None or version.artifact_digest is not None:
            self._registry().artifact(version)
        before = self.store.last_attested(version.name, version.version)
        if before is not None:
            verify(self.folder(version), named_subjects(payload_of(before.envelope)), named(version))
        self._check_fresh(version.name)
        facts |= as_recorded(version, recorded(self._history, version.name))
        return self._sign_files(version, uuid.uuid4().hex, SIGN, facts)

    def attestation(self, version: ModelVersion) -> Bundle:
        """Return the newest bundle that says which files a version has.

        Raises:
            IntegrityError: E7945 there is none, E794x it does not count, E7950 it is about another model.
        """
        for bundle in self._downwards(version):
            if _of_files(bundle) and bundle.version == version.version:
                return of_this(bundle, version)
        raise unsigned(version)

    def attested(self, version: ModelVersion) -> bool:
        """Tell whether the files of a version are those that somebody signed whose signature counts."""
        try:
            self._verify(version, self.attestation(version))
        except IntegrityError:
            return False
        return True

    # --- what may be used --------------------------------------------------------------------------------------------

    def standing(self, version: ModelVersion, alias: str | None = None) -> Bundle:
        """Return the attestation of a version that may be used, by its number or under an alias.

        Raises:
            IntegrityError: E7945 nobody signed it, E7950 it is another model's, and what `check` raises.
        """
        attested = self.check(version, alias)
        if attested is None:
            raise unsigned(version)
        return of_this(attested, version)

    def check(self, version: ModelVersion, alias: str | None = None) -> Bundle | None:
        """Look whether a version may be used, whoever has its files; return its attestation where it has one.

        While a transition is under way, or was cut short, an alias may be where it was before as well.

        Raises:
            IntegrityError: E794x its bundles do not count, E7947 the newest bundle has the alias elsewhere, E7949 the
                newest bundle has it in quarantine.
        """
        attested: Bundle | None = None
        stage: str | None = None
        holders: list[str | None] = []
        settled, empty = alias is None, True
        for bundle in self._downwards(version):
            said, empty = bundle.predicate, False
            stage = stage or said["stages"].get(version.version)
            if not settled and alias in said["aliases"]:
                holders.append(said["aliases"][alias])
                settled = holders[-1] == version.version or not self.store.under_way(bundle)
            if attested is None and _of_files(bundle) and bundle.version == version.version:
                attested = bundle
            if attested is not None and stage is not None and settled:
                break
        if alias is not None and empty:
            raise unknown(version)
        if alias is not None and version.version not in holders:
            raise elsewhere(version, alias, holders[0] if holders else None)
        if stage == "quarantine":
            raise quarantined(version)
        return attested

    def serving(self, version: ModelVersion, endpoint: Endpoint | None, alias: str | None = None) -> Bundle:
        """Return the attestation of a version that may answer from where its tags say, in process or elsewhere.

        Raises:
            IntegrityError: E7953 nobody signed that it is served there, and what `standing` raises.
        """
        attested = self.standing(version, alias)
        check_endpoint(version, endpoint, attested)
        return attested

    def verified(self, version: ModelVersion, alias: str | None = None) -> Bundle:
        """Check a version that may be used, file by file, and return its attestation.

        Raises:
            IntegrityError: E7924 files are missing, E7945 to E7950 it may not be used (see `standing`).
        """
        attested = self.standing(version, alias)
        self._verify(version, attested)
        return attested

    def take(self, version: ModelVersion, into: Path, alias: str | None = None) -> Path:
        """Copy the model of a version that may be used into a folder that is made, and return its artifact's folder.

        The bytes of the copy are those that were signed, and nothing else is in it.

        Raises:
            IntegrityError: E7924 files are missing, E7945 to E7950 it may not be used (see `standing`).
        """
        self._verify(version, self.standing(version, alias), into)
        return present(version, into, self.folder(version))

    # --- what was decided --------------------------------------------------------------------------------------------

    def decide(self, key: str, model: str, version: str, action: str, facts: Mapping[str, Any]) -> Bundle:
        """Sign what a transition is about to do; once under `key`, the transition's intent.

        Args:
            key: The intent.
            model: Name of the model.
            version: The version that it is about.
            action: promote, stage, reject, quarantine, rollback, release, archive, challenge, withdraw.
            facts: `by`, `run_id`, `reason`, `aliases` (alias → version or None) and `stages` (version → stage) as they
                are afterwards, and what was decided on which evidence.
        """
        trained, subjects = self._trained(model, version)
        return self.store.append(key, model, version, action, DECISION, subjects, {**trained, **facts})

    def _trained(self, model: str, version: str) -> tuple[dict[str, Any], Subjects]:
        """Return what is attested of a version, as a decision repeats it; nothing where no attestation counts."""
        bundle = self.store.last_attested(model, version)
        if bundle is None or bundle.problem is not None:
            return {}, {}
        kept = ("model_id", "dataset", "training", "artifact_digest", "code_digest")
        return {name: bundle.predicate[name] for name in kept}, bundle.subjects

    # --- how it is done ----------------------------------------------------------------------------------------------

    def folder(self, version: ModelVersion) -> Path:
        """Return where a version's MLflow model lies on this machine.

        Raises:
            IntegrityError: E7924 its files are missing, E7925 its description cannot be read.
        """
        folder = local_model(self._registry().connection, version.name, version.version, version.model_id)
        present(version, folder)
        return folder

    def _verify(self, version: ModelVersion, attested: Bundle, into: Path | None = None) -> None:
        """Check a version's files; those that were fetched from a server are fetched again where they are others."""
        folder = self.folder(version)
        try:
            verify(folder, attested.subjects, named(version), into)
        except IntegrityError:
            if not folder.is_relative_to(self._registry().connection.home.cache):
                raise
            for stale in filter(None, (folder, into)):
                shutil.rmtree(stale, ignore_errors=True)
            verify(self.folder(version), attested.subjects, named(version), into)

    def _carried(self, version: ModelVersion, reason: str, by: str) -> dict[str, Any]:
        """Return what a new attestation of a version says: how it was trained is taken over."""
        said = carried(self.store.last_attested(version.name, version.version))
        return said | {"by": by, "run_id": None, "reason": reason, "aliases": {}, "stages": {}}

    def _elsewhere(self, version: ModelVersion) -> dict[str, Any]:
        """Return where the tags of a version say that it is served, to be signed."""
        with self._registry().connection.explained() as client:
            found = endpoint_of(version, client.get_model_version(version.name, version.version).tags)
        return {"endpoint": None if found is None else found._asdict()}

    def _check_fresh(self, model: str) -> None:
        self.store.check_fresh(model, self._registry().connection.home.root / "audit" / "checkpoints.jsonl")

    def _downwards(self, version: ModelVersion) -> Iterator[Bundle]:
        """Yield the bundles of a version's model, newest first, as long as they count and none is missing."""
        self._check_fresh(version.name)
        try:
            yield from self.store.downwards(version.name)
        except IntegrityError as error:
            raise (resigned(version, error) if error.code in {"E7942", "E7943"} else error) from None

    def _sign_files(self, version: ModelVersion, key: str, action: str, facts: Mapping[str, Any]) -> Bundle:
        described = {
            "model_id": version.model_id,
            "dataset": {"name": version.dataset, "digest": version.dataset_digest},
            "artifact_digest": version.artifact_digest,
            "code_digest": version.code_digest,
        }
        without = described["artifact_digest"] is None and facts["endpoint"] is not None  # its files are elsewhere
        subjects = {} if without else subjects_of(self.folder(version), named(version))
        return self.store.append(
            key, version.name, version.version, action, TRAINING, subjects, described | dict(facts)
        )


def _of_files(bundle: Bundle) -> bool:
    return bundle.action in ATTESTING
