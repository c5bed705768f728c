"""A parser of outside input, given seeded damage: `python tests/flows/fuzzed.py PARSER SEED COUNT FOLDER`.

Each input is something valid with bytes flipped, cut, doubled, moved, or replaced by what parsers stumble over. The
parser may take it or refuse it with a `RatchetError`; any other exception, or more than SECONDS, ends this process with
a traceback. It prints how many were tried and refused, and by how much memory grew at most.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import random
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from registry.errors import RatchetError

SECONDS = 5
TRICKS = (
    b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"1e999", b"-1e999", b"NaN", b"Infinity", b"null",
    b"[" * 400, b'{"a":' * 400, b'"', b"\n", b"\r", b"9" * 5000, b"-0", b"{}", b"[]", b"&a [*a,*a]", b"!!python/object",
    b"\xe2\x80\xae", b"A" * 70_000, b"<<: *x", b"0x1F", b"2026-99-99T99:99:99Z", b"true", b": ", b"#", b"%PDF", b"PAR1",
)  # fmt: skip
Parser = Callable[[bytes, Path], None]


def damaged(valid: bytes, generator: random.Random) -> bytes:
    """Return `valid` with one to four kinds of damage."""
    data = bytearray(valid)
    for _ in range(generator.randint(1, 4)):
        at, size = generator.randrange(len(data) + 1), generator.randint(1, 64)
        kind = generator.randrange(6)
        if kind == 0 and data:
            data[min(at, len(data) - 1)] ^= 1 << generator.randrange(8)
        elif kind == 1:
            del data[at : at + size]
        elif kind == 2:
            data[at:at] = data[at : at + size] * generator.randint(1, 20)
        elif kind == 3:
            data[at:at] = generator.choice(TRICKS)
        elif kind == 4:
            data[at : at + size] = generator.randbytes(generator.randint(0, size))
        else:
            del data[at:]
    return bytes(data)


# --- the parsers, each with something valid ------------------------------------------------------------------------

EVENT = {
    "specversion": "1.0", "id": "e1", "source": "/fuzz", "type": "execution.completed", "time": "2026-01-05T00:00:00Z",
    "subject": "s1",
    "data": {
        "trace_id": "t1", "agent": "a", "model_version": "m/1", "status": "success", "quality_score": 90.5,
        "confidence": 0.9, "feedback": {"kind": "stars", "value": 4}, "latency_ms": 12, "tokens_in": 1, "tokens_out": 2,
        "task": {"type": "t", "domain": "travel", "instruction": "book a flight", "input": {"from": "A"}},
        "steps": [{"type": "tool_call", "tool": "find", "arguments": {"q": ["x", 1]}, "observation": "found"}],
        "output": "booked, write to a.b@mail.example.org",
    },
}  # fmt: skip
FEEDBACK = {
    "specversion": "1.0", "id": "f1", "source": "/fuzz", "type": "feedback.recorded",
    "time": "2026-01-05T00:01:00+01:00",
    "data": {"trace_id": "t1", "kind": "thumbs", "value": "up", "user": "u"},
}  # fmt: skip
LINES = b"".join(json.dumps(event).encode() + b"\n" for event in (EVENT, FEEDBACK, EVENT | {"id": "e2"}))
POLICY = b"""filtering:
  quality_threshold: 80
promotion: {approval: auto, min_readiness: 0.7}
validation:
  known_triggers: ["a b", 'c']
triggers: {}
"""
GOLDEN = b'{"messages": [{"role": "user", "content": "hi"}], "expected": "hello"}\n{"prompt": "a", "expected": "b"}\n'


def events(data: bytes, folder: Path) -> None:
    """Read, redact and fingerprint: the whole way of an event to the columns that decisions are made on."""
    from flows.policy import Policy
    from flows.survey import SurveyPiece, survey
    from tasks.extraction.inputs import find_inputs, split_inputs

    path, policy = folder / "events.jsonl", Policy()
    path.write_bytes(data)
    work, raw = folder / "work", folder / "raw"
    for each in (work, raw):
        shutil.rmtree(each, ignore_errors=True)
        each.mkdir()
    for partition in split_inputs(find_inputs([str(path)]), 1 << 20):
        survey(SurveyPiece(partition, policy.extraction, policy.curation.redact, str(work), str(raw), 1))


def packed(data: bytes, folder: Path) -> None:
    """The same of a compressed file."""
    from tasks.extraction.inputs import find_inputs, split_inputs
    from tasks.extraction.lines import read_blocks

    path = folder / "events.jsonl.gz"
    path.write_bytes(data)
    for partition in split_inputs(find_inputs([str(path)]), 1 << 20):
        for _ in read_blocks(partition, 1 << 20):
            pass


def logged(data: bytes, folder: Path) -> None:
    """Append to the event log, as the gateway does."""
    from registry.events import EventLog

    log = EventLog(f"sqlite:///{folder / 'log.db'}")
    for line in data.split(b"\n"):
        with contextlib.suppress(RatchetError):
            log.append([line])


def policy(data: bytes, folder: Path) -> None:
    """Load a policy file."""
    from flows.policy import load_policy

    path = folder / "policy.yaml"
    path.write_bytes(data)
    load_policy(path)


def golden(data: bytes, folder: Path) -> None:
    """Load somebody's own regression cases."""
    from tasks.validation.regression import read_golden

    path = folder / "golden.jsonl"
    path.write_bytes(data)
    read_golden(path)


def envelope(data: bytes, folder: Path) -> None:
    """Open a signed statement."""
    from registry.trust.signing import Keyring

    Keyring(folder / "keys").trust().opened(data.decode("utf-8", "surrogateescape"), "application/vnd.in-toto+json")


def trusted(data: bytes, folder: Path) -> None:
    """Read the list of keys that count."""
    from registry.trust.signing import Keyring

    path = folder / "trusted.json"
    path.write_bytes(data)
    Keyring(folder / "keys", trusted=path).trust()


def artifact(data: bytes, folder: Path) -> None:
    """Load an adapter of which one file is damaged, and says in its configuration that it has to be so."""
    from tasks.training.backend import load_trained

    whole, copy = folder / "artifact", folder / "damaged"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole, copy)
    names = sorted(path.name for path in whole.iterdir())
    name = names[int.from_bytes(hashlib.sha256(data).digest()[:4], "big") % len(names)]
    content = (whole / name).read_bytes()
    if any(data):  # else as it is
        content = damaged(content, random.Random(data))
    (copy / name).write_bytes(content)
    before = hashlib.sha256((whole / name).read_bytes()).hexdigest()
    for path in copy.glob("*.json"):
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        path.write_text(text.replace(before, hashlib.sha256(content).hexdigest()), errors="surrogateescape")
    load_trained(copy).answer([[{"role": "user", "content": "hello"}]])


def prepare_artifact(folder: Path) -> None:
    """Train an adapter on next to nothing."""
    import pyarrow as pa

    from tasks.training.backend import TrainingData
    from tasks.training.job import run_job
    from tasks.training.policy import TrainingPolicy
    from tasks.training.simulated import SimulatedBackend

    texts = [
        json.dumps([{"role": "user", "content": f"ask {n}"}, {"role": "assistant", "content": f"say {n % 7}"}])
        for n in range(60)
    ]
    table = pa.table({"messages": texts, "example_id": [str(n) for n in range(60)], "domain": ["d"] * 60})
    data = TrainingData(table.slice(0, 50), table.slice(50), "d")
    run_job(SimulatedBackend(), data, TrainingPolicy(epochs=1), 0, folder / "artifact")


def prepare_envelope(folder: Path) -> bytes:
    """Sign something."""
    from registry.trust.signing import Keyring

    return Keyring(folder / "keys").own().sign({"a": [1, {"b": "c"}]}, "application/vnd.in-toto+json").encode()


def seeds(name: str, folder: Path) -> bytes:
    """Return something valid for a parser, and make what else it needs."""
    if name == "artifact":
        prepare_artifact(folder)
        return bytes(16)
    if name == "envelope":
        return prepare_envelope(folder)
    if name == "trusted":
        prepare_envelope(folder)
        return (folder / "keys" / "trusted.json").read_bytes()
    return {"events": LINES, "logged": LINES, "packed": gzip.compress(LINES), "policy": POLICY, "golden": GOLDEN}[name]


PARSERS: dict[str, Parser] = {
    parser.__name__: parser for parser in (events, packed, logged, policy, golden, envelope, trusted, artifact)
}


def main() -> None:
    name, seed, count, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    parser, valid, generator = PARSERS[name], seeds(name, folder), random.Random(f"{name}:{seed}")
    parser(valid, folder)
    before, refused = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    for number in range(count):
        data = generator.randbytes(16) if name == "artifact" else damaged(valid, generator)
        signal.alarm(SECONDS)
        try:
            parser(data, folder)
        except RatchetError:
            refused += 1
        except BaseException:
            (folder / "input").write_bytes(data)
            print(f"input {number} of {name}: {data[:2000]!r}", file=sys.stderr)
            raise
        signal.alarm(0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"tried": count, "refused": refused, "grown_kib": grown}))


if __name__ == "__main__":
    main()
