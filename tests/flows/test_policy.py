"""The policy file: every problem at once, with its name and its line; hostile files are told, not obeyed."""

from __future__ import annotations

import time

import pytest

from flows.policy import MAX_BYTES, Policy, load_policy, policy_digest
from registry.errors import SettingsError


@pytest.fixture
def problems_of(tmp_path):
    def read(content: str | bytes, name: str = "policy.yaml") -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(SettingsError) as caught:
            load_policy(path)
        assert caught.value.code == "E7801"
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return read


def test_without_a_file_the_defaults_hold():
    assert load_policy(None) == Policy()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("policy.yaml", "validation:\n  level: 0.9\n  max_cases: 200\n"),
        ("policy.toml", "[validation]\nlevel = 0.9\nmax_cases = 200\n"),
        ("policy.json", '{"validation": {"level": 0.9, "max_cases": 200}}'),
    ],
)
def test_a_file_changes_what_it_names_and_nothing_else(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    policy = load_policy(path)
    assert (policy.validation.level, policy.validation.max_cases) == (0.9, 200)
    assert policy.model_copy(update={"validation": Policy().validation}) == Policy()


def test_two_files_that_amount_to_the_same_have_the_same_digest(tmp_path):
    written_out, empty = tmp_path / "full.json", tmp_path / "short.yaml"
    written_out.write_text(Policy().model_dump_json())
    empty.write_text("validation: {}\n")
    assert load_policy(written_out) == Policy()
    assert policy_digest(load_policy(written_out)) == policy_digest(load_policy(empty)) == policy_digest(Policy())
    changed = tmp_path / "changed.yaml"
    changed.write_text("validation:\n  level: 0.94\n")
    assert policy_digest(load_policy(changed)) != policy_digest(Policy())


def test_numbers_are_numbers_in_every_usual_form(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text("validation:\n  negligible_score: 1e-3\n  level: 9.5e-1\n  latency_budget_ms: 500\n")
    policy = load_policy(path).validation
    assert (policy.negligible_score, policy.level, policy.latency_budget_ms) == (0.001, 0.95, 500.0)


def test_every_problem_is_told_at_once_with_its_line(problems_of):
    message = problems_of(
        "validation:\n"
        "  levle: 0.9\n"
        "  max_cases: many\n"
        "  right_score: 7\n"
        "  tolerance: '0.1'\n"
        "  latency_budget_ms: yes\n"
        "level: 0.9\n"
        "validaton: {}\n"
        "curation:\n"
        "  train_share: 0.5\n"
        "  train_share: 0.9\n"
        "training: 5\n"
    )
    for expected in (
        "line 2: validation.levle is no setting (did you mean level?)",
        "line 3: validation.max_cases should be a valid integer",
        "line 4: validation.right_score should be less than or equal to 1",
        "line 5: validation.tolerance should be a valid number",
        "line 6: validation.latency_budget_ms should be a valid number",
        "line 7: level is no setting (did you mean validation.level?)",
        "line 8: validaton is no setting (did you mean validation?)",
        "line 9: curation contradicts itself: train_share + validation_share + test_share is 1.1",
        "line 10: curation.train_share is given twice, also on line 11",
        "line 12: training should be an object, not 5",
    ):
        assert expected in message, message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"# only a comment\n", "it is empty"),
        (b"just words", "it must be sections"),
        (b"- a\n- b\n", "it must be sections"),
        (b"validation:\n  level: \xff\xfe\n", "not UTF-8 text (byte 21)"),
        (b"\x00\x01\x02", "special characters are not allowed"),
        (b"validation: {level: 0.9\n", "expected ',' or '}'"),
        (b"validation: !!python/object/apply:os.system ['touch /tmp/owned']\n", "could not determine a constructor"),
        (b"a: &a [1]\nvalidation: *a\n", "line 2: aliases (*name) are not allowed"),
        (b"validation:\n  level: .nan\n", "validation.level must be a finite number"),
        (b"validation:\n  latency_budget_ms: .inf\n", "validation.latency_budget_ms must be a finite number"),
        (b"validation:\n  level: 2024-01-01\n", "validation.level should be a valid number"),
        (b"validation:\n  max_cases: 1" + b"0" * 5000, "limit"),
        (b"? [a, b]\n: 1\n", "unhashable"),
        (b"7: 1\n", "7 is no setting"),
        (b"validation: null\n", "validation should be an object"),
        (b"a: 1\n---\nb: 2\n", "expected a single document"),
    ],
)
def test_what_is_no_policy_is_told_in_one_line(problems_of, content, said):
    assert said in problems_of(content)


def test_hostile_sizes_are_refused_at_once(problems_of):
    begun = time.monotonic()
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert "aliases" in problems_of(bomb)
    assert "larger than 256 KiB" in problems_of(b"a: " + b"x" * 10_000_000)
    assert "nested too deeply" in problems_of("[" * (MAX_BYTES - 1))
    assert "nested too deeply" in problems_of("[" * (MAX_BYTES - 1), "policy.json")
    assert time.monotonic() - begun < 10


def test_a_file_that_is_not_there_or_a_folder_is_told(tmp_path):
    with pytest.raises(SettingsError, match=r"E7801: .*cannot be read \(No such file or directory\)"):
        load_policy(tmp_path / "absent.yaml")
    with pytest.raises(SettingsError, match=r"E7801: .*cannot be read \(Is a directory\)"):
        load_policy(tmp_path)


def test_twins_in_json_and_errors_in_toml_are_told(problems_of):
    assert "level is given twice" in problems_of('{"validation": {"level": 0.9, "level": 0.8}}', "policy.json")
    assert "Invalid value" in problems_of("validation = [", "policy.toml")


def test_more_problems_than_fit_are_counted(problems_of):
    many = "validation:\n" + "".join(f"  no_such_setting_{number}: 1\n" for number in range(60))
    assert "and 40 more" in problems_of(many)
