"""COPY reads what a feed stream gives it, and what it refuses is said like every other refusal."""

import gzip
import io
import json

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.feed_files import FeedRefused, load_layout, open_feed, refusal_from_copy

HEAD = b"redemption_no,cancelled_at\n"
GOOD = HEAD + b"R1,2026-01-01\n"
FAR = HEAD + b"R1,x\n" * 100_000  # several blocks


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Write a file into the working folder and return its name."""
    monkeypatch.chdir(tmp_path)

    def write(name, content):
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    return write


@pytest.fixture
def layout(file):
    def from_text(text, feed="cancellations"):
        return load_layout(file("layout.toml", text), feed)

    return from_text


@pytest.fixture
def cursor(server_url):
    connection = psycopg2.connect(server_url.set(drivername="postgresql").render_as_string(hide_password=False))
    with connection.cursor() as cursor:
        yield cursor
    connection.close()


@pytest.fixture
def copied(cursor):
    """Copy a file as the importer does, and return the rows."""

    def copy(name, layout=None, feed="cancellations", **options):
        cursor.connection.rollback()
        with open_feed(name, feed, layout, **options) as stream:
            cursor.execute(f"CREATE TEMP TABLE staged ({', '.join(f'{column} text' for column in stream.columns)})")
            command = f"COPY staged ({', '.join(stream.columns)}) FROM STDIN ({stream.copy_format})"
            cursor.copy_expert(command, stream, size=1 << 18)
        cursor.execute("SELECT * FROM staged")
        return cursor.fetchall()

    return copy


def test_postgres_reads_each_format_to_the_same_rows(file, copied, layout, tmp_path):
    expected = [("R1", None), ("R2", 'a"b,\r\nc'), ("R3", r"\."), ("R4", "a\rb")]
    quoted = b'R1,""\nR2,"a""b,\r\nc"\nR3,\\.\nR4,"a\rb"\n'
    assert copied(file("a.csv", HEAD + quoted)) == expected
    assert copied(file("a.csv.gz", gzip.compress(HEAD + quoted))) == expected
    tabs = layout('delimiter = "\\t"')
    assert (
        copied(file("t.csv", b'redemption_no\tcancelled_at\nR1\t\nR2\t"a""b,\r\nc"\nR3\t\\.\nR4\t"a\rb"\n'), tabs)
        == expected
    )
    events = [{"redemption_no": number, "cancelled_at": at} for number, at in expected]
    assert copied(file("a.jsonl", "".join(json.dumps(event) + "\n" for event in events))) == expected
    pq.write_table(pa.Table.from_pylist(events), tmp_path / "a.parquet")
    assert copied("a.parquet") == expected


def test_a_word_for_nothing_means_nothing_quoted_or_not(file, copied, layout):
    content = HEAD + b'n/a,"n/a"\n,x\n'
    assert copied(file("a.csv", content), layout('null_value = "n/a"')) == [(None, None), ("", "x")]


@pytest.mark.parametrize(
    ("content", "line", "column", "words"),
    [
        (HEAD + b"R1,x\nR2\nR3,x\n", 3, "cancelled_at", "the line has too few fields"),
        (HEAD + b'R1,"a\nb"\nR2\n', 4, "cancelled_at", "the line has too few fields"),
        (HEAD + b"R1,x\n\nR3,x\n", 3, "cancelled_at", "the line is empty: remove it"),
        (HEAD + b"R1,x\nR2,x,y\n", 3, None, "the line has too many fields: quote fields that hold the delimiter"),
        (HEAD + b'R1,x\nR2,5" plate\nR3,x\nR4,x\n', 3, None, "a quoted field begins here and never ends"),
        (HEAD + b"R1,x\nR2,x\rR3,x\n", 3, None, "the line ends differently from those before"),
    ],
)
def test_what_copy_refuses_is_said_like_everything_else(file, copied, content, line, column, words):
    for name, written in (("a.csv", content), ("a.csv.gz", gzip.compress(content))):
        with pytest.raises(FeedRefused) as caught:
            copied(file(name, written))
        assert (caught.value.path, caught.value.line, caught.value.column) == (name, line, column)
        assert words in caught.value.reason
        assert caught.value.reason.endswith("no row of the file was taken")


def test_a_refusal_while_copying_is_not_swallowed_by_the_driver(file, copied):
    with pytest.raises(FeedRefused, match=r"a\.csv, line 100002, column cancelled_at: byte 0xa3 is not UTF-8"):
        copied(file("a.csv", FAR + b"R2,\xa3\n"))


def test_trouble_of_the_database_is_not_blamed_on_the_file(file, cursor):
    with pytest.raises(psycopg2.errors.UndefinedTable), open_feed(file("a.csv", GOOD), "cancellations") as stream:
        cursor.copy_expert(f"COPY nowhere FROM STDIN ({stream.copy_format})", stream)


def test_an_error_of_copy_that_nobody_foresaw_keeps_its_line(cursor, file):
    cursor.execute("CREATE TEMP TABLE staged (redemption_no text, cancelled_at date)")
    with pytest.raises(psycopg2.Error) as caught:
        cursor.copy_expert("COPY staged FROM STDIN (FORMAT csv)", io.StringIO("R1,2026-01-01\nR2,never\n"))
    refused = refusal_from_copy(caught.value, file("a.csv", b""))
    assert (refused.line, refused.column) == (2, "cancelled_at")
    assert "invalid input syntax for type date" in refused.reason
