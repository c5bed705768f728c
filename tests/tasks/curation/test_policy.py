"""The curation's settings: the defaults of the design, and what contradicts itself."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tasks.curation.policy import KINDS, CurationPolicy


def test_the_defaults_are_the_designs() -> None:
    policy = CurationPolicy()
    assert policy.shares == (0.8, 0.1, 0.1)
    assert policy.near_duplicate_jaccard == 0.8
    assert set(KINDS) - set(policy.redact) == {"DATE_OF_BIRTH"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_share": 0.7}, "is 0.9, and must be 1"),
        ({"train_share": 1.0, "validation_share": 0.0, "test_share": 0.0}, "less than 1"),
        ({"near_duplicate_jaccard": 0.3}, "greater than or equal to 0.5"),
        ({"redact": ["EMAIL", "SHOE_SIZE"]}, "Input should be 'PRIVATE_KEY'"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        CurationPolicy.model_validate(changes)


def test_a_split_may_be_left_out_if_the_others_share_it() -> None:
    assert CurationPolicy(train_share=0.9, validation_share=0.0).shares == (0.9, 0.0, 0.1)
