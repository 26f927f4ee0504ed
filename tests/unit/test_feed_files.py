"""Reading feed files: what passes through, what is rewritten, and what is refused in which words."""

import csv
import datetime as dt
import decimal
import gzip
import hashlib
import io
import json
import os
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.feed_bytes import BLOCK
from infra.feed_files import FeedRefused, describe_file, load_layout, open_feed
from points_ledger.feeds import MEMBER_COLUMNS

HEAD = b"redemption_no,cancelled_at\n"
GOOD = HEAD + b'R1,2026-01-01\n"R2","a ""b""\nc"\n'


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


MORNING = dt.datetime(2026, 3, 1, 10, 5)  # noqa: DTZ001 - Parquet holds such times


def drained(name, layout=None, feed="cancellations", size=-1, **options):
    """Return the stream's columns and content."""
    with open_feed(name, feed, layout, **options) as stream:
        pieces = []
        while piece := stream.read(size):
            pieces.append(piece)
        assert stream.sha256 == describe_file(name, feed).sha256
    return stream.columns, b"".join(pieces)


def rows(name, layout=None, feed="cancellations"):
    columns, content = drained(name, layout, feed)
    return [dict(zip(columns, row, strict=True)) for row in csv.reader(io.StringIO(content.decode(), newline=""))]


def refusal(name, layout=None, feed="cancellations", **options):
    with pytest.raises(FeedRefused) as caught:
        drained(name, layout, feed, **options)
    assert str(caught.value).startswith(name)
    return caught.value


# --- CSV passes through ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 8192, -1])
def test_csv_passes_through_unchanged_whatever_the_size_of_a_read(file, size):
    assert drained(file("a.csv", GOOD), size=size) == (("redemption_no", "cancelled_at"), GOOD)


def test_a_file_of_many_blocks_passes_through_unchanged(file):
    content = HEAD + b"".join(b"R%d,caf\xc3\xa9\n" % number for number in range(2 * BLOCK // 10))
    assert drained(file("a.csv", content)) == (("redemption_no", "cancelled_at"), content)


def test_gzip_in_several_parts_with_padding_is_one_file(file):
    content = gzip.compress(HEAD) + gzip.compress(b"R1,x\n") + b"\0" * 512
    assert drained(file("a.CSV.gz", content))[1] == HEAD + b"R1,x\n"


def test_a_byte_order_mark_is_taken_off(file):
    assert drained(file("a.csv", b"\xef\xbb\xbf" + GOOD)) == (("redemption_no", "cancelled_at"), GOOD)


def test_a_file_with_a_header_only_has_no_rows(file):
    assert drained(file("a.csv", HEAD))[1] == HEAD


def test_columns_that_the_layout_does_not_map_are_ignored_by_number(file):
    header = "Description,InvoiceNo,StockCode,Country,Quantity,InvoiceDate,UnitPrice,CustomerID,\n"
    retail = load_layout("uci-online-retail", "orders")
    assert drained(file("a.csv", header), retail, "orders")[0] == (
        *("ignored_1", "order_no", "sku", "ignored_2", "quantity", "placed_at", "unit_price", "member_no"),
        "ignored_3",
    )


def test_the_first_row_is_found_behind_a_header_of_two_lines(file):
    name = file("a.csv", b'redemption_no,cancelled_at,"a\nremark"\nR1,x,y\n')
    with open_feed(name, "cancellations") as stream:
        assert (stream.columns[2], stream.line_of_first_row) == ("ignored_1", 3)


def test_a_row_is_found_on_its_line_even_behind_fields_of_several_lines(file):
    with open_feed(file("a.csv", GOOD + b"R3,x\n"), "cancellations") as stream:
        assert [stream.line_of_row(row) for row in (1, 2, 3)] == [2, 3, 5]
    with open_feed(
        file("a.jsonl", b'{"redemption_no": "a\\nb", "cancelled_at": "x"}\n' * 2), "cancellations"
    ) as stream:
        assert stream.line_of_row(2) == 2


def test_a_word_for_nothing_is_left_to_copy(file, layout):
    with open_feed(file("a.csv", GOOD), "cancellations", layout('null_value = "n\'a"')) as stream:
        assert stream.copy_format.endswith(", NULL 'n''a'")


def test_other_encodings_and_delimiters_are_taken_when_the_layout_says_so(file, layout):
    western = layout('encoding = "cp1252"\ndelimiter = ";"\n')
    name = file("a.csv", b"redemption_no;cancelled_at\ncaf\xe9;\x80\n")
    assert drained(name, western)[1].decode() == "redemption_no;cancelled_at\ncafé;€\n"
    with open_feed(name, "cancellations", western) as stream:
        assert "DELIMITER ';'" in stream.copy_format
    assert drained(file("b.csv", GOOD.decode().encode("utf-16")), layout('encoding = "utf-16"'))[1] == GOOD


def test_progress_is_told_in_bytes_of_the_file(file):
    seen = []
    content = gzip.compress(HEAD + os.urandom(BLOCK).hex().encode() + b",x\n")
    drained(file("a.csv.gz", content), progress=seen.append)
    assert len(seen) > 1
    assert seen == sorted(seen)
    assert seen[-1] == len(content)


def test_the_hash_is_of_the_file_and_not_known_before_its_end(file):
    name = file("a.csv.gz", content := gzip.compress(GOOD))
    assert describe_file(name, "orders").sha256 == hashlib.sha256(content).hexdigest()
    with open_feed(name, "cancellations") as stream, pytest.raises(ValueError, match="read to its end"):
        _ = stream.sha256


def test_the_file_stays_where_it_is_whatever_happens(file, tmp_path):
    drained(file("a.csv", GOOD))
    refusal(file("b.csv", GOOD[:-1]))
    assert (tmp_path / "a.csv").read_bytes() == GOOD
    assert (tmp_path / "b.csv").read_bytes() == GOOD[:-1]


# --- files that are refused ---------------------------------------------------------------------------------------

FAR = HEAD + b"R1,x\n" * 100_000  # several blocks


@pytest.mark.parametrize(
    ("name", "content", "line", "column", "words"),
    [
        ("a.csv", b"", None, None, "is empty: ask for the file again"),
        ("a.csv.gz", gzip.compress(b"", mtime=0), None, None, "is empty: ask for the file again"),
        ("a.txt", GOOD, None, None, "its name must end in .csv, .csv.gz, .jsonl, .jsonl.gz, .parquet"),
        ("a.csv.gz", GOOD, None, None, "is not compressed by gzip although its name ends in .gz"),
        ("a.csv", gzip.compress(GOOD, mtime=0), None, None, "is compressed by gzip but its name does not say so"),
        ("a.csv", b"PK\x03\x04...", None, None, "is an Excel workbook or a zip archive: save it as CSV"),
        ("a.csv", HEAD + b"R1,x\nR2,2026-0", 3, None, "may have been cut: ask for the whole file; if it is whole, end"),
        ("a.csv", HEAD[:-1], 1, None, "ends in the middle of this line"),
        ("a.csv", FAR + b'R2,"\xa3"\n', 100_002, "cancelled_at", "byte 0xa3 is not UTF-8: save the file as UTF-8, or"),
        ("a.csv", HEAD + b'R1,"a\n\xa3"\n', 3, "cancelled_at", "byte 0xa3 is not UTF-8"),
        ("a.csv", HEAD + b'R1,"a\nb"\n\xa3,x\n', 4, "redemption_no", 'or set encoding = "cp1252" in the layout'),
        ("a.csv", b"\xef\xbb\xbf" + HEAD + b"R1,\xa3\n", 2, "cancelled_at", "byte 0xa3 is not UTF-8"),
        ("a.csv", HEAD + b"R1,caf\xc3", None, None, "ends in the middle of a character"),
        ("a.csv", FAR + b"R2,a\0b\n", 100_002, "cancelled_at", "holds a NUL character"),
        ("a.csv", FAR + b"\\.\nR2,x\n", 100_002, None, r"holds \. and nothing else"),
        (
            "a.csv",
            GOOD.decode().encode("utf-16"),
            1,
            None,
            'save it as UTF-8, or set encoding = "utf-16" in the layout',
        ),
        ("a.csv", GOOD.decode().encode("utf-16-le"), 1, None, 'set encoding = "utf-16-le" in the layout'),
        ("a.csv", HEAD.replace(b",", b",redemption_no,"), 1, "redemption_no", "the header has this name twice"),
        ("a.csv", b"redemption_no\n", 1, "cancelled_at", "is missing from the header (found: redemption_no): if the"),
        ("a.csv", b"a,cancelled_at\n", 1, "redemption_no", "use --layout with one that ships (uci-online-retail) or a"),
        ("a.csv", HEAD.replace(b",", b";"), 1, "redemption_no, cancelled_at", 'set delimiter = ";" in a layout'),
        ("a.jsonl", b'{"redemption_no": "R1", "cancelled_at"', 1, None, "is cut off"),
        (
            "a.jsonl",
            b'{"redemption_no": "R1"}\n{"redemption_no" "R2"}\n',
            2,
            None,
            "is not JSON (Expecting ':' delimiter",
        ),
        ("a.jsonl", b'{"redemption_no": "R1"}\n', None, "cancelled_at", "is a key of none of the 1 lines: if the file"),
        ("a.jsonl", b"[1]\n", 1, None, "is not an object"),
        ("a.jsonl", b"{}\n\n{}\n", 2, None, "is empty: remove the line"),
        ("a.jsonl", b'{}\n{"cancelled_at": ["x"]}\n', 2, "cancelled_at", "holds a list or an object"),
        ("a.jsonl", b'{"cancelled_at": 1, "cancelled_at": 2}\n', 1, None, "a key occurs twice"),
        ("a.jsonl", b'{"cancelled_at": NaN}\n', 1, None, "NaN is not a number that can be booked"),
        ("a.jsonl", b'{}\n{"cancelled_at": "a\\u0000"}\n', 2, "cancelled_at", "holds a character that is not text"),
        ("a.jsonl", b'{}\n{"cancelled_at": "\\ud800"}\n', 2, "cancelled_at", "holds a character that is not text"),
        ("a.jsonl", b'{"x":' + b"[" * 100_000, 1, None, "is nested too deeply"),
        ("a.parquet", GOOD, None, None, "is empty or not a Parquet file"),
        ("a.parquet", b"PAR1....PAR1", None, None, "is damaged"),
    ],
)
def test_a_refusal_names_the_place_and_the_remedy(file, name, content, line, column, words):
    refused = refusal(file(name, content))
    assert (refused.line, refused.column) == (line, column)
    assert words in str(refused)


def test_a_gzip_that_was_cut_names_the_line_it_was_cut_in(file):
    body = HEAD + b"".join(b"R%d,%s\n" % (number, os.urandom(20).hex().encode()) for number in range(20_000))
    cut = gzip.compress(body)
    refused = refusal(file("a.csv.gz", cut[: len(cut) // 2]))
    assert 9_000 < refused.line < 11_000
    assert "is cut off in this line" in refused.reason


@pytest.mark.parametrize(
    "broken",
    [gzip.compress(GOOD)[:-8] + b"12345678", gzip.compress(GOOD) + b"more"],
    ids=["wrong checksum", "more behind"],
)
def test_a_damaged_gzip_is_refused(file, broken):
    assert "is damaged at or after this line" in refusal(file("a.csv.gz", broken)).reason


def test_a_file_that_is_not_there_is_refused_and_so_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    assert "there is no such file" in refusal("gone.csv").reason
    assert "cannot be read" in refusal("folder.csv").reason


def test_a_file_that_grows_while_it_is_read_is_refused(file, tmp_path):
    name = file("a.csv", FAR)
    with open_feed(name, "cancellations") as stream:
        stream.read(10)
        with (tmp_path / name).open("ab") as other:
            other.write(b"R9,x\n")
        with pytest.raises(FeedRefused, match="changed while it was being read"):
            stream.read()


def test_an_open_end_is_accepted_when_asked_for(file):
    assert drained(file("a.csv", GOOD[:-1]), allow_open_end=True)[1] == GOOD[:-1]


def test_a_line_that_ends_a_copy_is_found_across_two_blocks(file):
    for cut in range(6):
        row = b"R1," + b"x" * (BLOCK - len(HEAD) - 3 - cut)
        assert refusal(file("a.csv", HEAD + row + b"\n\\.\nR2,x\n")).line == 3
    assert drained(file("b.csv", HEAD + b"\\.x,\\.\n"))[1] == HEAD + b"\\.x,\\.\n"


def test_a_character_on_the_edge_of_two_blocks_is_read_or_named_in_its_place(file):
    for cut in (1, 2, 3):
        row = HEAD + b"R1," + b"x" * (BLOCK - len(HEAD) - 3 - cut)
        assert drained(file("a.csv", row + "🎁\n".encode()))[1].endswith("x🎁\n".encode())
        assert "byte 0xf0 is not UTF-8" in refusal(file("b.csv", row + "🎁".encode()[:cut] + b"\n")).reason
        later = refusal(file("c.csv", row + "🎁\nR2\xff,\n".encode().replace("\xff".encode(), b"\xff")))
        assert (later.line, later.column) == (3, "redemption_no")


def test_blanks_around_the_names_of_columns_do_not_matter(file):
    assert drained(file("a.csv", b"redemption_no , cancelled_at\n"))[0] == ("redemption_no", "cancelled_at")


def test_a_wrong_encoding_in_the_layout_is_named_as_such(file, layout):
    refused = refusal(file("a.csv", HEAD + b"R1,\x81\n"), layout('encoding = "cp1252"'))
    assert (refused.line, refused.column) == (2, "cancelled_at")
    assert "byte 0x81 is not cp1252: correct encoding in the layout" in refused.reason
    marked = refusal(file("b.csv", b"\xef\xbb\xbf" + GOOD), layout('encoding = "cp1252"'))
    assert "remove that from the layout" in marked.reason


def test_a_missing_column_is_named_as_the_file_would_name_it(file):
    retail = load_layout("uci-online-retail", "orders")
    refused = refusal(file("a.csv", "InvoiceNo,StockCode,Quantity,UnitPrice,InvoiceDate\n"), retail, "orders")
    assert str(refused).startswith("a.csv, line 1, column CustomerID: is missing from the header (found: InvoiceNo, ")
    assert refused.reason.endswith("correct [columns] of the layout uci-online-retail")


def test_a_refusal_survives_pickling():
    refused = FeedRefused("a.csv", 3, "points", "is wrong: correct it")
    again = pickle.loads(pickle.dumps(refused))  # noqa: S301 - our own
    assert str(again) == str(refused) == "a.csv, line 3, column points: is wrong: correct it"
    assert (again.path, again.line, again.column, again.reason) == ("a.csv", 3, "points", "is wrong: correct it")


# --- JSON lines and Parquet are rewritten ---------------------------------------------------------------------------


def test_json_numbers_keep_every_digit(file):
    line = (
        '{"redemption_no": 123456789012345678901234567890, "cancelled_at": 0.1000000000000000000055511151231257827}\n'
    )
    assert rows(file("a.jsonl", line)) == [
        {
            "redemption_no": "123456789012345678901234567890",
            "cancelled_at": "0.1000000000000000000055511151231257827",
        }
    ]


def test_json_text_survives_with_quotes_and_line_breaks(file):
    events = [{"cancelled_at": 'a\r"b",\nc', "redemption_no": "é"}, {"redemption_no": None, "cancelled_at": True}]
    content = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    expected = [
        {"redemption_no": "é", "cancelled_at": 'a\r"b",\nc'},
        {"redemption_no": "", "cancelled_at": "true"},
    ]
    assert rows(file("a.jsonl.gz", gzip.compress(content))) == expected
    assert rows(file("b.jsonl", content[:-1])) == expected  # a closing brace proves that the line is whole


def test_a_json_stream_has_every_column_and_ignores_other_keys(file):
    content = '{"member_no": "M1", "x": {"y": 1}}\n{"member_no": "M2", "groups": "a|b"}\n'
    assert rows(file("a.jsonl", content), feed="members") == [
        dict.fromkeys(MEMBER_COLUMNS, "") | {"member_no": "M1"},
        dict.fromkeys([name for name in MEMBER_COLUMNS if name != "groups"], "") | {"member_no": "M2", "groups": "a|b"},
    ]


def test_numbers_follow_the_decimal_mark_of_the_layout(file, layout, tmp_path):
    comma = layout('decimal = ","')
    assert rows(file("a.jsonl", '{"redemption_no": 1.5, "cancelled_at": 12}\n'), comma) == [
        {"redemption_no": "1,5", "cancelled_at": "12"}
    ]
    table = pa.table({"redemption_no": [1.5], "cancelled_at": [decimal.Decimal("2.50")]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert rows("a.parquet", comma) == [{"redemption_no": "1,5", "cancelled_at": "2,50"}]


@pytest.mark.parametrize(
    ("values", "kind", "texts"),
    [
        ([MORNING, None], pa.timestamp("us"), ["2026-03-01 10:05:00.000000", ""]),
        ([MORNING], pa.timestamp("s", "Asia/Tokyo"), ["2026-03-01 19:05:00.000+0900"]),
        ([dt.date(2026, 3, 1)], pa.date32(), ["2026-03-01"]),
        ([2**63 - 1, -1], pa.int64(), ["9223372036854775807", "-1"]),
        ([decimal.Decimal("12345678901234567890.10")], pa.decimal128(30, 2), ["12345678901234567890.10"]),
        ([2.55, 0.1, 17850.0, None], pa.float64(), ["2.55", "0.1", "17850", ""]),
        (["a", None, "a"], pa.dictionary(pa.int32(), pa.string()), ["a", "", "a"]),
        (['a"b', "c\r\nd", "e,f"], pa.string(), ['a"b', "c\r\nd", "e,f"]),
    ],
)
def test_parquet_values_become_exact_text(file, tmp_path, values, kind, texts):
    file("unused", b"")
    table = pa.table({"ignored": values, "cancelled_at": pa.array(values, kind), "redemption_no": ["R"] * len(values)})
    pq.write_table(table, tmp_path / "a.parquet")
    assert [row["cancelled_at"] for row in rows("a.parquet")] == texts


def test_parquet_of_many_batches_arrives_whole_and_in_order(file, tmp_path):
    file("unused", b"")
    numbers, seen = list(range(50_000)), []
    pq.write_table(pa.table({"redemption_no": numbers, "cancelled_at": numbers}), tmp_path / "a.parquet")
    columns, content = drained("a.parquet", progress=seen.append)
    assert columns == ("redemption_no", "cancelled_at")
    assert content.decode().replace('"', "").splitlines() == [f"{number},{number}" for number in numbers]
    assert seen[-1] == (tmp_path / "a.parquet").stat().st_size


def test_parquet_that_was_cut_or_lacks_a_column_or_nests_is_refused(file, tmp_path):
    file("unused", b"")
    pq.write_table(pa.table({"redemption_no": ["R1"], "cancelled_at": [[1]]}), tmp_path / "a.parquet")
    assert "is of the type list" in refusal("a.parquet").reason
    assert refusal("a.parquet").column == "cancelled_at"
    assert "is cut off" in refusal(file("b.parquet", (tmp_path / "a.parquet").read_bytes()[:-9])).reason
    pq.write_table(pa.table({"redemption_no": ["R1"]}), tmp_path / "c.parquet")
    assert refusal("c.parquet").column == "cancelled_at"


def test_times_in_parquet_and_a_format_for_times_contradict_each_other(layout, tmp_path):
    dated = layout('timestamp_format = "DD/MM/YYYY"')
    table = pa.table({"redemption_no": ["R1"], "cancelled_at": [dt.date(2026, 1, 1)]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert "remove timestamp_format" in refusal("a.parquet", dated).reason
