"""The record database: its revisions, on SQLite and on PostgreSQL, and what is said where it cannot be used."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from registry import database, migrations
from registry.audit.log import AuditLog
from registry.audit.tampering import examine
from registry.errors import SettingsError
from registry.history import History
from registry.trust.signing import Trust

OLD = """
CREATE TABLE runs (sequence INTEGER NOT NULL, "key" VARCHAR NOT NULL, time VARCHAR NOT NULL, work TEXT NOT NULL,
    run_id TEXT NOT NULL, model TEXT NOT NULL, event TEXT NOT NULL, body TEXT, PRIMARY KEY (sequence), UNIQUE ("key"));
INSERT INTO runs VALUES (1, 'r:completed', 'then', 'w', 'r', 'agent', 'completed', '{"old": true}');
"""


def test_a_database_of_the_release_before_is_brought_up_to_date_and_keeps_its_rows(tmp_path):
    path = tmp_path / "ratchet.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(OLD)
    history = History(f"sqlite:///{path}")
    assert history.completed("w") == {"old": True}
    history.note("kind", "agent", {})
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(database.REVISIONS[-1],)]
        assert connection.execute("SELECT count(*) FROM event_log").fetchone() == (1,)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_was_recorded_before_there_was_a_chain_is_chained_with_its_numbers_and_times(kind, tmp_path, request):
    url = f"sqlite:///{tmp_path / 'a.db'}" if kind == "sqlite" else request.getfixturevalue("postgres").fresh()
    engine = sa.create_engine(database.normalised(url))
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        for n in range(1, 1201):
            connection.exec_driver_sql(
                f"INSERT INTO audit VALUES ({n}, 'key {n}', 'time {n}', 'check', 'm', '', '{{}}')"
            )
        line = "'m', '1', 'train', NULL, 'development', 'ann', 'because', NULL, NULL"
        connection.exec_driver_sql(f"INSERT INTO history VALUES (1, 'k', 'then', {line})")
        connection.exec_driver_sql("INSERT INTO intents VALUES (1, 'i', 'then', 'm', '{}')")
        connection.exec_driver_sql("INSERT INTO closures VALUES (1, 'i', 'then', 'done')")
        connection.exec_driver_sql("INSERT INTO runs VALUES (1, 'r', 'then', 'w', 'r', 'm', 'started', NULL)")
        connection.exec_driver_sql("INSERT INTO experiments VALUES (1, 'e', 'then', 'm', 'e', 'start', '{}')")
    engine.dispose()
    log, history = AuditLog(url), History(url)
    records = list(log.records())
    assert [(r.sequence, r.key, r.time) for r in records[:1200]] == [
        (n, f"key {n}", f"time {n}") for n in range(1, 1201)
    ]
    assert (records[1200].kind, records[1200].by, records[1200].time) == ("train", "ann", "then")
    assert [record.kind for record in records[1201:]] == ["intent", "closure", "run", "experiment_event"]
    history.append("m", "2", "train", before=None, after="development", by="ann")
    assert history.note("check", "m", {}).sequence == 1207
    assert examine(log.engine, Trust([])).findings == []
    with pytest.raises(sa.exc.IntegrityError, match="audit only grows"), log.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM audit")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_revisions_make_the_tables_that_queries_are_made_with(kind, tmp_path, request):
    url = f"sqlite:///{tmp_path / 'a.db'}" if kind == "sqlite" else request.getfixturevalue("postgres").fresh()
    found = sa.inspect(database.connect(url))
    for table in database.metadata.sorted_tables:
        columns = {column["name"]: column["nullable"] for column in found.get_columns(table.name)}
        assert columns == {column.name: column.nullable for column in table.columns}, table.name
        indexed = {name for index in found.get_indexes(table.name) for name in index["column_names"]}
        assert {column.name for column in table.columns if column.index} <= indexed


def test_a_database_of_a_newer_release_is_left_alone(tmp_path):
    url = f"sqlite:///{tmp_path / 'a.db'}"
    engine = database.connect(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0999'")
    with pytest.raises(SettingsError, match=r"E7860: .* is of revision 0999; this Ratchet knows up to 0003"):
        database.connect(url)


def test_alembic_is_not_imported_where_nothing_is_to_be_done(tmp_path):
    url = f"sqlite:///{tmp_path / 'a.db'}"
    code = "import sys; from registry.history import History; History(sys.argv[1]); print('alembic' in sys.modules)"
    said = [subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True).stdout for _ in "12"]
    assert said == ["True\n", "False\n"]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_many_who_open_a_new_database_at_once_make_it_once(kind, tmp_path, request):
    url = f"sqlite:///{tmp_path / 'a.db'}" if kind == "sqlite" else request.getfixturevalue("postgres").fresh()
    code = """if True:
    import sys
    from registry.history import History
    history = History(sys.argv[1])
    for number in range(10):
        history.note("kind", "agent", {"by": sys.argv[2], "number": number})
    """
    started = [subprocess.Popen([sys.executable, "-c", code, url, str(n)], stderr=subprocess.PIPE) for n in range(4)]
    assert [(each.wait(60), each.stderr.read()) for each in started] == [(0, b"")] * 4
    assert [note.sequence for note in History(url).notes("kind")] == list(range(1, 41))


def test_several_threads_append_without_a_gap_on_postgresql_and_nobody_changes_a_row(postgres):
    history = History(postgres.fresh())

    def write(writer):
        for number in range(10):
            history.note("kind", "agent", {}, key=f"{writer}:{number}")

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [note.sequence for note in history.notes("kind")] == list(range(1, 41))
    for statement in ("UPDATE audit SET model = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
        engine = database.connect(history.url)
        with pytest.raises(sa.exc.IntegrityError, match="audit only grows"), engine.begin() as connection:
            connection.exec_driver_sql(statement)


def test_a_process_has_one_engine_for_a_database_and_notices_when_the_file_is_another(tmp_path):
    url = f"sqlite:///{tmp_path / 'a.db'}"
    first = database.connect(url)
    assert database.connect(url) is first
    for file in tmp_path.iterdir():
        file.unlink()
    History(url).note("kind", "agent", {})
    assert len(History(url).notes("kind")) == 1


def test_a_forked_child_has_connections_of_its_own(tmp_path):
    url = f"sqlite:///{tmp_path / 'a.db'}"
    History(url).note("kind", "agent", {})
    child = os.fork()
    if child == 0:
        History(url).note("kind", "agent", {})
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(History(url).notes("kind")) == 2


@pytest.mark.parametrize("url", ["mysql://localhost/x", "nonsense", "oracle+x://h/d"])
def test_an_address_of_no_database_is_one_clear_line(url):
    with pytest.raises(SettingsError, match="E7862: no database that can be used has an address that begins with"):
        database.connect(url)


def test_a_server_that_does_not_answer_is_one_clear_line_without_the_password():
    with pytest.raises(SettingsError, match=r"E7840: the record database .* cannot be used: .*refused") as caught:
        database.connect("postgresql://ann:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)
