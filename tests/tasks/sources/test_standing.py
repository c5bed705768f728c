"""Who is barred, and whose share is limited."""

from __future__ import annotations

import pickle

import numpy as np

from tasks.sources.policy import SourcePolicy
from tasks.sources.standing import EVERYBODY, Standing, limits


def test_a_blocked_source_is_barred_and_no_other():
    standing = Standing(SourcePolicy(), {"a": "blocked", "b": "probation"})
    assert [standing.bars(name) for name in ("a", "b", "c", "A", "a ")] == [True, False, False, False, False]


def test_with_a_list_of_those_who_may_every_other_source_is_barred():
    standing = Standing(SourcePolicy(allow=("/ours/*", "/partner")), {"/ours/bad": "blocked"})
    names = ("/ours/eu", "/partner", "/partner/x", "/theirs", "/ours/bad", "/OURS/eu")
    assert [standing.bars(name) for name in names] == [False, False, True, True, True, True]


def test_by_default_nothing_is_limited_until_somebody_is_trusted():
    assert not EVERYBODY.limits_shares
    assert not Standing(SourcePolicy(), {"a": "trial", "b": "blocked"}).limits_shares
    assert Standing(SourcePolicy(), {"a": "trusted"}).limits_shares


def found(standing, *rows):
    names = sorted(set(rows))
    source = np.array([names.index(row) for row in rows])
    return limits(standing, names, source, np.zeros(len(rows), dtype=np.int64))


def test_all_sources_on_trial_share_one_limit():
    standing = Standing(SourcePolicy(), {"old": "trusted"})
    (limit,) = found(standing, "old", "new-1", "new-2", "old")
    assert limit.group.tolist() == [-1, 0, 0, -1]
    assert limit.share == 0.3


def test_sources_on_trial_are_not_limited_where_no_trusted_one_brings_anything():
    assert found(Standing(SourcePolicy(), {"old": "trusted"}), "new-1", "new-2") == []


def test_a_source_on_probation_is_limited_beside_any_other():
    standing = Standing(SourcePolicy(), {"bad": "probation"})
    (limit,) = found(standing, "new", "bad")
    assert limit.group.tolist() == [-1, 0]
    assert found(standing, "bad", "bad") == []


def test_a_standing_travels_to_other_processes():
    standing = Standing(SourcePolicy(allow=("a",)), {"a": "trusted"})
    assert pickle.loads(pickle.dumps(standing)) == standing
