"""Write the generated parts of docs/: `policy.md` from the policy models. `--check` only says whether it is current."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from pathlib import Path

from pydantic import BaseModel

from flows.policy import Policy

TARGET = Path(__file__).parent / "policy.md"
HEAD = """# Policy reference

Generated from the policy models by `make docs`; do not edit. A policy file is YAML with any of the keys below; what it
leaves out keeps its default. `ratchet policy FILE` checks a file and reports every problem at once, `ratchet policy`
prints the defaults.

Where no file is given (`--policy`, or the parameter of a flow), the one that `RATCHET_POLICY` names counts, and without
it the defaults. Set it where `ratchet up` or a worker starts, so that a scheduled retrain learns by the same rules. An
experiment and a new champion are judged by the file that is given, else by that of `RATCHET_POLICY`, else by the policy
that the version was trained under. Gates and approvals always go by the policy that the version was trained under.

A change of a setting that shapes the data makes the next dataset a new major version.
"""


def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstring that stands under each field in the source of `model`."""
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
            value = after.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[field.target.id] = " ".join(value.value.split())
    return found


def bounds(metadata: list[object]) -> str:
    """Return the bounds of a field, such as `≥ 0, ≤ 1`."""
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return ", ".join(f"{sign} {getattr(m, name)}" for m in metadata for name, sign in signs.items() if hasattr(m, name))


def section(name: str, model: type[BaseModel]) -> str:
    """Return one stage's settings as a Markdown table."""
    docs = field_docs(model)
    lines = [f"## {name}", "", " ".join((model.__doc__ or "").split()), "", "| setting | default | bounds | meaning |"]
    lines.append("| --- | --- | --- | --- |")
    for key, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = default.model_dump() if isinstance(default, BaseModel) else default
        meaning = (docs.get(key) or field.description or "").replace("|", "\\|")
        lines.append(f"| `{name}.{key}` | `{shown}` | {bounds(field.metadata)} | {meaning} |")
    return "\n".join(lines)


def reference() -> str:
    """Return the whole reference."""
    parts = [HEAD]
    for name, field in Policy.model_fields.items():
        assert isinstance(field.annotation, type)
        parts.append(section(name, field.annotation) + "\n")
    return "\n".join(parts)


def main() -> int:
    """Write the reference, or with `--check` return 1 when it is out of date."""
    text = reference()
    if "--check" in sys.argv:
        current = TARGET.exists() and TARGET.read_text(encoding="utf-8") == text
        if not current:
            sys.stderr.write("docs/policy.md is out of date: run `make docs`\n")
        return 0 if current else 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
