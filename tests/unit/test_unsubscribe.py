"""Unsubscribe links: nobody can make one, only POST acts, and nothing personal is in them or in the log."""

import http.client
import threading
from contextlib import contextmanager
from http.server import ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from infra import unsubscribe
from infra.settings import Settings
from infra.unsubscribe import Asked, read_token, token
from infra.unsubscribe_page import handler

KEY = b"k" * 32
KEYS = {unsubscribe.KEY_NUMBER: KEY}


@given(st.integers(0, 2**63 - 1), st.sampled_from(unsubscribe.CLASSES))
def test_a_link_says_who_and_what(member_id, notice_class):
    made = token(KEY, member_id, notice_class)

    assert read_token(KEYS, made) == Asked(member_id, notice_class)
    assert len(made) == 35


@given(st.integers(0, 34), st.sampled_from("abcXYZ019-_"))
def test_a_link_that_was_changed_is_none(at, letter):
    made = token(KEY, 7, "service")
    other = made[:at] + letter + made[at + 1 :]

    # the last letter carries two spare bits: the same bytes may have two spellings, never another meaning
    assert read_token(KEYS, other) in ((None, Asked(7, "service")) if at == 34 or other == made else (None,))


@pytest.mark.parametrize("text", ["", "x", "a" * 35, "ä" * 10, "=" * 8, "../../etc", token(b"o" * 32, 7, "service")])
def test_what_is_not_ours_is_none(text):
    assert read_token(KEYS, text) is None


def test_a_class_that_cannot_be_stopped_has_no_link():
    for notice_class in ("legal", "transaction"):
        with pytest.raises(ValueError, match="not in"):
            token(KEY, 7, notice_class)


def test_a_key_is_made_once_and_kept_private(tmp_path):
    chosen = Settings(home=tmp_path / "home")
    first = unsubscribe.signing_key(chosen)

    assert unsubscribe.signing_key(chosen) == first
    assert len(first) >= 32
    assert (tmp_path / "home" / "unsubscribe.secret").stat().st_mode & 0o77 == 0
    assert unsubscribe.signing_key(Settings(home=tmp_path, unsubscribe_key="s" * 32)) == b"s" * 32


@contextmanager
def page(act):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(lambda text: read_token(KEYS, text), act, "/u"))
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def ask(method, path, body=None, **headers):
        line = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
        line.request(method, path, body, headers)
        reply = line.getresponse()
        content = reply.read().decode()
        line.close()
        return reply.status, content, reply.headers

    yield ask
    server.shutdown()
    server.server_close()


def test_looking_at_the_link_does_nothing_and_posting_acts():
    done = []
    link = f"/u/{token(KEY, 7, 'marketing')}"
    with page(done.append) as ask:
        for method in ("GET", "HEAD"):
            status, content, headers = ask(method, link)
            assert (status, done) == (200, [])
            assert headers["Cache-Control"] == "no-store"
        status, content, _ = ask("GET", link)
        assert '<form method="post">' in content
        assert "offers" in content
        assert "7" not in content.partition("<h1>")[2]

        # a mail program's one click (RFC 8058), and the button of the page
        one_click = {"Content-Type": "application/x-www-form-urlencoded"}
        assert ask("POST", link, "List-Unsubscribe=One-Click", **one_click)[0] == 200
        status, content, _ = ask("POST", link, "", **{"Accept-Language": "zh-CN,zh;q=0.9"})

    assert done == [Asked(7, "marketing")] * 2
    assert status == 200
    assert 'lang="zh-CN"' in content
    assert "已办理" in content


@pytest.mark.parametrize("path", ["/", "/u/", "/u/nonsense", "/favicon.ico", "/u/" + token(b"o" * 32, 7, "service")])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_link_that_is_not_ours_acts_on_nobody(path, method):
    done = []
    with page(done.append) as ask:
        status, content, _ = ask(method, path, "" if method == "POST" else None)

    assert (status, done) == (404, [])
    assert "nonsense" not in content


def test_a_ledger_that_cannot_be_reached_is_not_done():
    def act(_):
        raise OperationalError("", {}, Exception())

    with page(act) as ask:
        status, content, _ = ask("POST", f"/u/{token(KEY, 7, 'service')}", "")

    assert status == 503
    assert "Done" not in content


def test_a_visitor_cannot_post_a_book():
    done = []
    with page(done.append) as ask:
        status, *_ = ask("POST", f"/u/{token(KEY, 7, 'service')}", "x" * 5000)

    assert (status, done) == (413, [])
