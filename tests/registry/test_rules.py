"""The registry's rules, tried by random walks against a plain model of them.

The same walk runs on two registries: one in memory that carries out the planned effects (thousands of steps), and a
real MLflow (fewer steps).
"""

from itertools import count
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from registry import effects
from registry.errors import PromotionError
from registry.records import ModelVersion, StageChange
from registry.situation import Situation

VERDICTS = ("promoted", "pending_approval", "staged", "rejected")


class InMemory:
    """A registry that is a list of versions and a list of lines; transitions are the real planned effects."""

    def __init__(self):
        self.found, self.lines = {}, []

    def register(self):
        number = str(len(self.found) + 1)
        self.found[number] = ModelVersion(name="support", version=number, stage="development", run_id="", model_id="")
        return number

    def versions(self):
        return list(self.found.values())

    def history(self):
        return list(self.lines)

    def situation(self):
        return Situation("support", self.versions(), self.history())

    def do(self, planned):
        for effect in planned:
            version = self.found[effect.version]
            if effect.kind == "tag" and effect.name == "stage":
                self.found[effect.version] = version.model_copy(update={"stage": effect.value})
            elif effect.kind == "alias":
                for number, other in self.found.items():
                    kept = [alias for alias in other.aliases if alias != effect.name]
                    mine = [effect.name] if number == effect.version else []
                    self.found[number] = other.model_copy(update={"aliases": kept + mine})
            elif effect.kind == "unalias":
                kept = [alias for alias in version.aliases if alias != effect.name]
                self.found[effect.version] = version.model_copy(update={"aliases": kept})
            elif effect.kind == "history":
                self.lines.append(
                    StageChange(
                        sequence=len(self.lines) + 1,
                        time="",
                        model="support",
                        version=effect.version,
                        action=effect.name,
                        before=effect.before,
                        after=effect.after,
                        by="ann",
                        evidence_digest=effect.evidence_digest,
                    )
                )

    def carry_out(self, made):
        plan = {"promoted": effects.promote, "rejected": effects.reject}.get(made.verdict, effects.stage_candidate)
        if made.verdict == "promoted" and self.found[made.version].stage == "development":
            self.do(effects.stage_candidate(self.situation(), made))
        self.do(plan(self.situation(), made))

    def quarantine(self, number):
        self.do(effects.quarantine(self.situation(), number, "unsafe"))

    def release(self, number):
        self.do(effects.release(self.situation(), number, "safe after all"))

    def archive(self, number):
        self.do(effects.archive(self.situation(), number, "not wanted"))

    def rollback(self, to=None):
        self.do(effects.rollback(self.situation(), to, "worse"))


class Rules(RuleBasedStateMachine):
    """What must hold, in the simplest words there are for it."""

    make = InMemory
    toys = None

    def __init__(self):
        super().__init__()
        self.registry = self.make()
        self.stages, self.line, self.clean, self.serving, self.seen = {}, [], [], None, []
        self.rejected = set()

    def pick(self, number):
        return str(number % len(self.stages) + 1)

    def attempt(self, allowed, action, *arguments):
        if allowed:
            action(*arguments)
            return True
        with pytest.raises(PromotionError):
            action(*arguments)
        return False

    @rule()
    def register(self):
        self.stages[self.registry.register()] = "development"

    @rule()
    def promote_a_new_one(self):
        """The usual way; without it a walk seldom sees a third champion."""
        self.register()
        number = str(len(self.stages))
        self.promote(number, self.toys.decision(number, "promoted", self.serving), gates_pass=True, fresh=True)

    @precondition(lambda self: self.stages)
    @rule(number=st.integers(0, 7), verdict=st.sampled_from(VERDICTS), gates_pass=st.booleans(), fresh=st.booleans())
    def decide(self, number, verdict, gates_pass, fresh):
        number = self.pick(number)
        before = self.stages[number]
        made = self.toys.decision(number, verdict, self.serving if fresh else "999")
        status = "PASS" if gates_pass else "FAIL"
        made = made.model_copy(update={"gates": [g.model_copy(update={"status": status}) for g in made.gates]})
        candidate = before in {"development", "staging"}
        if verdict == "rejected":
            again = before == "archived" and number in self.rejected
            if self.attempt(candidate or again, self.registry.carry_out, made):
                self.stages[number] = "archived"
                self.rejected.add(number)
        elif verdict != "promoted":
            if self.attempt(candidate, self.registry.carry_out, made):
                self.stages[number] = "staging"
        else:
            self.promote(number, made, gates_pass, fresh)

    def promote(self, number, made, gates_pass, fresh):
        before = self.stages[number]
        already = number == self.serving
        allowed = gates_pass and (already or (fresh and before in {"development", "staging"}))
        if not self.attempt(allowed, self.registry.carry_out, made):
            if before == "development":
                self.stages[number] = "staging"  # the first half of the way needs no gate of the second
        elif not already:
            if self.serving:
                self.stages[self.serving] = "archived"
            self.stages[number], self.serving = "production", number
            self.line.append(number)
            self.clean.append(number)

    @precondition(lambda self: self.stages)
    @rule(number=st.integers(0, 7))
    def quarantine(self, number):
        number = self.pick(number)
        self.registry.quarantine(number)
        if self.serving == number:
            self.serving = None
            self.line.pop()
        self.stages[number] = "quarantine"
        self.clean = [name for name in self.clean if name != number]

    @precondition(lambda self: self.stages)
    @rule(number=st.integers(0, 7))
    def release(self, number):
        number = self.pick(number)
        if self.attempt(self.stages[number] == "quarantine", self.registry.release, number):
            self.stages[number] = "development"

    @precondition(lambda self: self.stages)
    @rule(number=st.integers(0, 7))
    def archive(self, number):
        number = self.pick(number)
        if self.attempt(self.stages[number] in {"development", "staging", "archived"}, self.registry.archive, number):
            self.stages[number] = "archived"

    @rule()
    def roll_back(self):
        earlier = self.line[:-1] if self.serving else self.line
        target = earlier[-1] if earlier else None
        if self.attempt(target in self.clean and target != self.serving, self.registry.rollback):
            self.restored(target, earlier)

    @precondition(lambda self: self.stages)
    @rule(number=st.integers(0, 7))
    def roll_back_to(self, number):
        target = self.pick(number)
        if self.attempt(target in self.clean and target != self.serving, self.registry.rollback, target):
            if target in self.line:
                while self.line[-1] != target:
                    self.line.pop()
                self.restored(target, self.line)
            else:
                self.restored(target, [*self.line, target])

    def restored(self, target, line):
        if self.serving:
            self.stages[self.serving] = "archived"
        self.stages[target], self.serving, self.line = "production", target, list(line)

    @invariant()
    def stages_are_as_the_rules_say(self):
        versions = self.registry.versions()
        assert {version.version: version.stage for version in versions} == self.stages
        champions = [version.version for version in versions if "champion" in version.aliases]
        assert champions == ([self.serving] if self.serving else [])
        assert [number for number, stage in self.stages.items() if stage == "production"] == champions
        assert not [v for v in versions if v.stage in {"quarantine", "archived"} and v.aliases]

    @invariant()
    def history_only_grows_and_explains_every_stage(self):
        lines = self.registry.history()
        assert lines[: len(self.seen)] == self.seen
        self.seen = lines
        told = dict.fromkeys(self.stages, "development")
        for line in lines:
            assert line.before in {None, told[line.version]}, "every line starts where the one before it ended"
            told[line.version] = line.after
        assert told == self.stages


def test_the_rules_hold_on_every_walk_through_the_planned_effects(toys):
    class Planned(Rules):
        pass

    Planned.toys = toys
    run_state_machine_as_test(
        Planned, settings=settings(max_examples=1000, stateful_step_count=30, deadline=None, derandomize=True)
    )


def test_the_rules_hold_on_a_real_mlflow(bench, toys):
    names = count()
    ann = toys.actor

    class Real(Rules):
        @staticmethod
        def make():
            name = f"model-{next(names)}"
            run = bench.registry.tracking.start_run(name, name, name)
            transitions = bench.transitions
            return SimpleNamespace(
                register=lambda: bench.bare(name, run).version,
                versions=lambda: bench.registry.versions(name),
                history=lambda: bench.history.of(name),
                carry_out=lambda made: transitions.carry_out(
                    made.model_copy(update={"model": name}), toys.evidence(bench.registry.get(name, made.version)), ann
                ),
                quarantine=lambda number: transitions.quarantine(name, number, "unsafe", ann),
                release=lambda number: transitions.release(name, number, "safe after all", ann),
                archive=lambda number: transitions.archive(name, number, "not wanted", ann),
                rollback=lambda to=None: transitions.rollback(name, "worse", ann, to=to),
            )

    Real.toys = toys
    run_state_machine_as_test(
        Real,
        settings=settings(
            max_examples=2,
            stateful_step_count=12,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    bench.history.verify()
    assert bench.history.open_intents() == []
