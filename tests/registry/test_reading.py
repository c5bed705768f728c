"""A database that cannot be written to is read without anything being made beside it."""

from __future__ import annotations

import os

import sqlalchemy as sa

from registry.reading import read_only


def test_what_can_be_written_to_is_there_not_yet_or_on_a_server_is_opened_as_ever(tmp_path):
    file = tmp_path / "a.db"
    file.touch()
    for url in (f"sqlite:///{file}", f"sqlite:///{tmp_path / 'none.db'}", "sqlite://", "postgresql://host/name"):
        assert read_only(sa.make_url(url)) is None


def test_a_file_that_cannot_be_written_to_is_opened_as_unchanging():
    user = os.geteuid()
    if user == 0:  # whom no permission stops
        os.seteuid(65534)
    try:
        url = read_only(sa.make_url("sqlite:////etc/passwd"))
    finally:
        os.seteuid(user)
    assert url.render_as_string() == "sqlite:///file:/etc/passwd?immutable=1&mode=ro&uri=true"
