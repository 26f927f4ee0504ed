"""Layouts: how the file of a foreign shop is described, and what of a description is refused."""

import pickle
import re
import tomllib
from pathlib import Path

import pytest

from infra.feed_files import open_feed
from infra.feed_layouts import FEEDS, KEYS, FeedRefused, load_layout, shipped_layouts

FOREIGN = """
feed = "redemptions"
encoding = "cp1252"
delimiter = ";"
decimal = ","
timestamp_format = "DD/MM/YYYY HH24:MI"
time_zone = "Europe/Berlin"
null_value = "NULL"
[columns]
redemption_no = "Nr"
redeemed_at = "Datum"
points = "Punkte"
[constants]
member_no = "M1"
"""
REQUIRED = 'redemption_no = "a"\nmember_no = "b"\nredeemed_at = "c"\npoints = "d"\n'


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def from_text(text, feed="redemptions"):
        (tmp_path / "shop.toml").write_text(text, encoding="utf-8")
        return load_layout("shop.toml", feed)

    return from_text


@pytest.mark.parametrize("feed", FEEDS)
def test_without_a_layout_a_file_uses_our_names(feed):
    layout = load_layout(None, feed)
    assert layout.columns == {name: name for name in FEEDS[feed].columns}
    assert (layout.decimal, layout.delimiter, layout.encoding, layout.timestamp_format) == (".", ",", "utf-8", None)


def test_the_layout_that_ships_names_what_a_retailer_publishes():
    assert shipped_layouts() == ["uci-online-retail"]
    layout = load_layout("uci-online-retail", "orders")
    assert layout.required == {
        "order_no": "InvoiceNo",
        "member_no": "CustomerID",
        "placed_at": "InvoiceDate",
        "sku": "StockCode",
        "quantity": "Quantity",
        "unit_price": "UnitPrice",
    }


def test_a_layout_says_how_a_file_is_written(load):
    layout = load(FOREIGN)
    assert layout.columns == {"redemption_no": "Nr", "redeemed_at": "Datum", "points": "Punkte"}
    assert layout.constants == {"member_no": "M1"}
    assert layout.required == layout.columns  # what is constant need not be in the file
    assert (layout.encoding, layout.delimiter, layout.decimal, layout.null_value) == ("cp1252", ";", ",", "NULL")
    assert (layout.timestamp_format, layout.time_zone) == ("DD/MM/YYYY HH24:MI", "Europe/Berlin")
    assert pickle.loads(pickle.dumps(layout)) == layout  # noqa: S301 - our own


def test_without_a_table_of_columns_our_names_hold_and_a_constant_replaces_one(load):
    layout = load('delimiter = "|"\n[constants]\nreward = "mug"\n')
    assert layout.columns == {name: name for name in FEEDS["redemptions"].columns if name != "reward"}


@pytest.mark.parametrize(
    "template", ["DD/MM/YYYY HH24:MI", "YYYY-MM-DDTHH24:MI:SS.US", "DD Mon YYYY HH12:MI AM", "MM/DD/YYYY", "YYYYMMDD"]
)
def test_formats_of_times_that_shops_use_are_accepted(load, template):
    assert load(f'timestamp_format = "{template}"').timestamp_format == template


def test_members_have_no_times_whose_format_could_be_set(load):
    with pytest.raises(FeedRefused, match="joined_on is always YYYY-MM-DD: remove the key"):
        load('timestamp_format = "DD/MM/YYYY"', "members")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('feed = "orders"', "feed = 'orders': this layout is not for redemptions"),
        ('delimeter = ";"', "delimeter = ';': is no key of a layout: did you mean \"delimiter\"?"),
        ('delimiter = "::"', "delimiter = '::': must be one of ',', ';', '\\t', '|'"),
        ("decimal = 5", "decimal = 5: must be a string: put it in quotes"),
        ('decimal = ";"', "decimal = ';': must be one of '.', ','"),
        ('encoding = "utf8000"', "encoding = 'utf8000': is no encoding: write one such as"),
        ('encoding = "hex"', "encoding = 'hex': is no encoding"),
        ('time_zone = "Berlin"', "time_zone = 'Berlin': is no IANA time zone"),
        ('timestamp_format = "%d/%m/%Y"', "timestamp_format = '%d/%m/%Y': write it like \"DD/MM/YYYY HH24:MI\""),
        ('timestamp_format = "DD/MM/YY"', "timestamp_format = 'DD/MM/YY': write it like"),
        ('timestamp_format = "DD YYYY"', "timestamp_format = 'DD YYYY': has no month"),
        ('timestamp_format = "DD/MM/YYYY HH12:MI"', "timestamp_format = 'DD/MM/YYYY HH12:MI': HH12 needs AM"),
        (
            'delimiter = ";"\nnull_value = "a;b"',
            "null_value = 'a;b': must not hold quotes, line breaks or the delimiter",
        ),
        ("columns = 1", "columns = 1: must be a table"),
        (
            f'[columns]\n{REQUIRED}pionts = "x"',
            "columns.pionts = 'x': redemptions have no such column: did you mean \"points\"?",
        ),
        (f"[columns]\n{REQUIRED}reward = 5", "columns.reward = 5: must be a string that is not empty"),
        (f'[columns]\n{REQUIRED}reward = "a"', "columns.redemption_no = 'a': another column has this name too"),
        (f'[columns]\n{REQUIRED}[constants]\npoints = "5"', "constants.points = '5': is in [columns] too"),
        (
            '[columns]\npoints = "d"',
            "columns.redemption_no: is missing and every file of redemptions needs it: add redem",
        ),
    ],
)
def test_a_refusal_names_layout_key_value_and_remedy(load, text, sentence):
    with pytest.raises(FeedRefused) as caught:
        load(text)
    assert str(caught.value).startswith(f"shop.toml: {sentence}")


def test_text_that_is_no_layout_is_refused_with_its_line(load, tmp_path):
    with pytest.raises(FeedRefused, match=r"^shop\.toml, line 2: is not TOML"):
        load('decimal = ","\ndelimiter = ;\n')
    (tmp_path / "latin.toml").write_bytes(b"# \xa3")
    with pytest.raises(FeedRefused, match=r"latin\.toml: is not UTF-8: save the layout as UTF-8"):
        load_layout("latin.toml", "orders")


def test_an_unknown_name_or_feed_lists_what_there_is():
    with pytest.raises(
        FeedRefused, match=r"^uci: there is no such layout: name a TOML file, or .*: uci-online-retail$"
    ):
        load_layout("uci", "orders")
    with pytest.raises(
        FeedRefused, match=r"^order: is no feed: choose orders, redemptions, cancellations, activities, members$"
    ):
        load_layout(None, "order")


def test_the_documented_layout_reads_the_documented_file(load, tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "reference" / "feeds.md").read_text("utf-8")
    sample, example = (re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL)[1] for kind in ("csv", "toml"))
    (tmp_path / "till.csv").write_text(sample, encoding="cp1252")
    layout = load(example, "orders")
    with open_feed("till.csv", "orders", layout) as stream:
        assert stream.read().decode() == sample
        assert stream.columns == ("order_no", "member_no", "placed_at", "sku", "ignored_1", "quantity", "unit_price")
    assert layout.constants == {"store": "Berlin", "channel": "shop"}
    assert set(tomllib.loads(example)) == {*KEYS, "constants"}, "every key has its line in the example"


def test_every_column_of_every_feed_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "reference" / "feeds.md").read_text("utf-8")
    for feed in FEEDS.values():
        section = text.partition(f"**{feed.name}**")[2].partition("\n**")[0]
        assert not [column for column in feed.columns if f"`{column}`" not in section]
