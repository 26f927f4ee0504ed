"""The embedded Postgres: started by many at once, killed, with a path no socket can have."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from infra import cluster
from infra.database import engine

START = "import pathlib, sys; from infra import cluster; print(cluster.start(pathlib.Path(sys.argv[1])).url('postgres', 'x'))"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    # Too long for a socket, and with characters that a shell and a URL would each like to interpret.
    path = tmp_path_factory.mktemp("cluster") / ("long" * 30) / "it's a höme + more" / "postgres"
    yield path
    cluster.stop(path)


def start_in_a_process_of_its_own(directory):
    return subprocess.run(
        [sys.executable, "-P", "-c", START, str(directory)], capture_output=True, text=True, check=True
    ).stdout


def server_process(directory):
    return int((directory / "postmaster.pid").read_text().split()[0])


def answers(found):
    database = engine(found.url("postgres", "postgres"))
    try:
        with database.connect() as connection:
            return connection.execute(sa.text("SELECT current_setting('data_directory')")).scalar_one()
    finally:
        database.dispose()


def test_three_starters_at_once_make_one_server_that_outlives_them(directory):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        urls = pool.map(start_in_a_process_of_its_own, [directory] * 3)

    assert len(set(urls)) == 1
    found = cluster.running(directory)
    assert found is not None
    assert answers(found) == str(directory)


def test_a_start_of_what_runs_changes_nothing(directory):
    before = server_process(cluster.start(directory).directory)

    cluster.start(directory)

    assert server_process(directory) == before


def test_after_a_kill_with_its_number_given_to_another_program_it_starts_and_has_its_data(directory):
    found = cluster.start(directory)
    found.create_database("kept")
    killed = server_process(directory)
    os.kill(killed, signal.SIGKILL)
    note = directory / "postmaster.pid"
    note.write_text(note.read_text().replace(str(killed), str(os.getpid()), 1))

    again = cluster.start(directory)

    assert server_process(directory) not in (killed, os.getpid())
    with again.maintenance() as cursor:
        cursor.execute("SELECT datcollate, pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'kept'")
        assert cursor.fetchone() == ("C", "UTF8")


def test_a_database_made_twice_is_made_once(directory):
    found = cluster.start(directory)

    found.create_database("twice", owner="somebody")
    found.create_database("twice", owner="somebody")

    with found.maintenance() as cursor:
        cursor.execute("SELECT datdba::regrole::text FROM pg_database WHERE datname = 'twice'")
        assert cursor.fetchone() == ("somebody",)


def test_it_keeps_what_it_confirmed_and_waits_for_nobody_for_ever(directory):
    database = engine(cluster.start(directory).url("postgres", "postgres") + "&options=-c%20work_mem%3D9MB")

    with database.connect() as connection:
        shown = {
            name: connection.execute(sa.text("SELECT current_setting(:name)"), {"name": name}).scalar_one()
            for name in ("fsync", "lock_timeout", "work_mem", "transaction_isolation", "application_name", "TimeZone")
        }

    database.dispose()
    assert shown == {
        "fsync": "on",
        "lock_timeout": "1min",
        "work_mem": "9MB",  # what a URL of yours asks for is kept
        "transaction_isolation": "read committed",
        "application_name": "loyalty",
        "TimeZone": "UTC",
    }


def test_others_on_this_machine_cannot_reach_the_socket(directory):
    found = cluster.start(directory)

    assert found.socket_directory.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as somebody else")
def test_a_folder_above_that_was_closed_meanwhile_stops_neither_stop_nor_start(directory):
    cluster.start(directory)
    directory.parent.chmod(0o700)

    assert cluster.stop(directory)
    directory.parent.chmod(0o700)
    assert answers(cluster.start(directory))


def test_a_stop_of_what_does_not_run_is_no_error(tmp_path, directory):
    sockets = cluster.start(directory).socket_directory

    assert cluster.stop(directory)
    assert not cluster.stop(directory)
    assert not cluster.stop(tmp_path / "never")
    assert cluster.running(directory) is None
    assert not sockets.exists()


def test_a_folder_that_holds_something_else_is_refused_with_the_reason(tmp_path):
    other = tmp_path / "postgres"
    other.mkdir()
    (other / "letters.txt").write_text("Dear diary")

    with pytest.raises(cluster.ClusterFailed, match="not empty"):
        cluster.start(other)

    assert [path.name for path in Path(other).iterdir()] == ["letters.txt"]
