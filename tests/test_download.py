"""Downloads against a scripted server on this machine; what is published about archives."""

import email.utils
import errno
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from alexnet.archives import download, known_files
from alexnet.archives.download import fetch, fetch_missing, public
from alexnet.archives.known_files import KNOWN, KnownFile, describe_missing
from alexnet.archives.web import Credentials
from alexnet.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
BODY = random.Random(1).randbytes(1_000_000)
OTHER = random.Random(2).randbytes(1_000_000)
MD5, SHA256 = hashlib.md5(BODY).hexdigest(), hashlib.sha256(BODY).hexdigest()
USER, SECRET = "alice", "s3cr3t-passw0rd"


# The server -------------------------------------------------------------------------------------------------


class Scripted(ThreadingHTTPServer):
    """Answers with one step of a script after another; the last is for all further requests."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, *steps, tls=None):
        self.steps, self.requests, self.sent = list(steps) or [plain()], [], []
        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme = "https" if tls else "http"
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request, client_address):
        """Silence: clients are killed on purpose."""

    def url(self, path="/x.tar", host="127.0.0.1"):
        return f"{self.scheme}://{host}:{self.server_port}{path}"

    def header(self, name):
        """The values of a header in all requests; None where it was not sent."""
        return [headers.get(name) for _, headers in self.requests]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        """Silence."""

    def do_GET(self):
        number = len(self.server.requests)
        self.server.requests.append((self.path, dict(self.headers)))
        self.server.sent.append(0)
        self.number = number
        self.server.steps[min(number, len(self.server.steps) - 1)](self, number)

    def answer(self, status, headers, body=b"", pause=0.0):
        """The headers and the body; the connection is closed afterwards, whatever the length promised."""
        self.send_response(status)
        for name, value in {"Content-Length": len(body), "Connection": "close", **headers}.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()
        for start in range(0, len(body), 10_000):
            self.server.sent[self.number] += len(body[start : start + 10_000])
            self.wfile.write(body[start : start + 10_000])
            if pause:
                time.sleep(pause)
        self.close_connection = True


def plain(body=BODY, tag='"one"', cut=None, ranges=True, pause=0.0, **more):
    """Serves a body, or by Range its rest; `cut`: the connection breaks off at this byte of the file."""
    more = {name.replace("_", "-"): value for name, value in more.items()}

    def step(handler, number):
        wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        same = handler.headers.get("If-Range") in (None, tag)
        start = int(wanted[1]) if ranges and wanted and same else 0
        headers = {"ETag": tag, "Content-Length": len(body) - start}
        if start >= len(body):
            handler.answer(416, {"Content-Range": f"bytes */{len(body)}"})
            return
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        handler.answer(206 if start else 200, headers | more, body[start:cut], pause)

    return step


def status(code, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, number: handler.answer(code, headers, b"an explanation")


def redirect(place, code=302):
    return status(code, Location=place)


@contextmanager
def serving(*steps, tls=None):
    server = Scripted(*steps, tls=tls)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """Neither proxies nor credentials of the machine."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("ALEXNET_"):
            monkeypatch.delenv(name)


def get(server, target, path="/x.tar", **more):
    """What is in the file that was fetched, and how it came."""
    more = {"backoff": 0.01, "timeout": 5.0} | more
    job, body = fetch(server.url(path), target, **more), target.read_bytes()
    hashes = {kind: hashlib.new(kind, body).hexdigest() for kind in ("sha256", "md5")}
    return SimpleNamespace(bytes=len(body), resumed_from=job.resumed_from, attempts=job.requested, **hashes)


def left(folder):
    return sorted(path.name for path in folder.iterdir())


# Whole and parted -------------------------------------------------------------------------------------------


def test_a_plain_file(tmp_path):
    lines = io.StringIO()
    with serving() as server:
        got = get(server, tmp_path / "sub" / "x.tar", size=len(BODY), md5=MD5, sha256=SHA256, progress=lines)
    assert (tmp_path / "sub" / "x.tar").read_bytes() == BODY
    assert (got.bytes, got.sha256, got.md5, got.resumed_from, got.attempts) == (len(BODY), SHA256, MD5, 0, 1)
    assert left(tmp_path / "sub") == ["x.tar"]
    assert lines.getvalue() == "download x.tar  complete, 1.0 MB, sha256 as expected\n"
    assert server.header("Accept-Encoding") == ["identity"]
    assert server.header("Authorization") == [None]


def test_the_rest_is_fetched_after_a_broken_connection(tmp_path):
    with serving(plain(cut=600_000), plain()) as server:
        got = get(server, tmp_path / "x.tar", md5=MD5)
    assert (tmp_path / "x.tar").read_bytes() == BODY
    assert got.sha256 == SHA256 and got.attempts == 2
    assert 0 < got.resumed_from <= 600_000
    assert server.header("Range") == [None, f"bytes={got.resumed_from}-"]
    assert server.header("If-Range") == [None, '"one"']
    assert sum(server.sent) < 1.2 * len(BODY)


def test_last_modified_serves_where_the_tag_is_weak(tmp_path):
    date = "Wed, 21 Oct 2015 07:28:00 GMT"

    def step(handler, number):
        kept = handler.headers.get("If-Range")
        assert kept in (None, date)
        plain(tag=kept, cut=None if number else 500_000, Last_Modified=date, ETag='W/"x"')(handler, number)

    with serving(step) as server:
        assert get(server, tmp_path / "x.tar").sha256 == SHA256
    assert server.header("If-Range") == [None, date]


def test_from_zero_where_range_is_ignored(tmp_path):
    with serving(plain(cut=600_000), plain(ranges=False)) as server:
        got = get(server, tmp_path / "x.tar")
    assert (tmp_path / "x.tar").read_bytes() == BODY
    assert (got.sha256, got.resumed_from, got.attempts) == (SHA256, 0, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"Content_Range": f"bytes 5-{len(BODY) - 1}/{len(BODY)}"},
        {"Content_Range": "bytes rubbish"},
        {"Content_Range": None},
        {"Content_Range": f"bytes 1-2/{len(BODY) + 1}"},
        {"Content_Range": f"bytes 600000-{len(BODY)}/{len(BODY) + 1}"},
    ],
)
def test_from_zero_where_the_part_is_not_the_rest(tmp_path, wrong):
    with serving(plain(cut=600_000), plain(**wrong), plain()) as server:
        got = get(server, tmp_path / "x.tar")
    assert (tmp_path / "x.tar").read_bytes() == BODY
    assert (got.resumed_from, got.attempts) == (0, 3)
    assert server.header("Range")[2] is None


def test_from_zero_where_the_file_has_changed(tmp_path):
    with serving(plain(OTHER, cut=600_000), plain(BODY, tag='"two"')) as server:
        got = get(server, tmp_path / "x.tar", md5=MD5)
    assert (tmp_path / "x.tar").read_bytes() == BODY
    assert got.resumed_from == 0
    assert server.header("If-Range") == [None, '"one"']


def test_a_body_that_is_always_short_is_given_up(tmp_path):
    with (
        serving(plain(cut=600_000, ranges=False)) as server,
        pytest.raises(UserError, match=r"x\.tar cannot be fetched .*after 4 attempts"),
    ):
        get(server, tmp_path / "x.tar", attempts=4)
    assert len(server.requests) == 4
    assert left(tmp_path) == ["x.tar.part", "x.tar.part.json"]


def test_attempts_with_progress_do_not_count(tmp_path):
    with serving(*(plain(cut=cut) for cut in range(200_000, 1_000_001, 200_000))) as server:
        got = get(server, tmp_path / "x.tar", attempts=2, sha256=SHA256)
    assert got.attempts == 5 == len(server.requests)


def test_chunks_without_a_length(tmp_path):
    def step(handler, number):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"".join(b"%x\r\n%b\r\n" % (1000, BODY[:1000]) for _ in range(3)) + b"0\r\n\r\n")

    with serving(step) as server:
        got = get(server, tmp_path / "x.tar")
        assert got.bytes == 3000 and got.sha256 == hashlib.sha256(BODY[:1000] * 3).hexdigest()
        with pytest.raises(UserError, match="expected are 2000|has 3000 bytes"):
            get(server, tmp_path / "y.tar", size=2000)


def test_the_length_is_compared_before_the_body(tmp_path):
    with serving() as server, pytest.raises(UserError, match=f"x.tar has {len(BODY)} bytes at .*, expected are 77"):
        get(server, tmp_path / "x.tar", size=77)
    assert left(tmp_path) == []
    assert len(server.requests) == 1


def leave_part(tmp_path, data, tag='"one"', url=None):
    """What an earlier process left."""
    (tmp_path / "x.tar.part").write_bytes(data)
    record = {"url": url, "etag": tag, "last_modified": None, "bytes": len(BODY)}
    (tmp_path / "x.tar.part.json").write_text(json.dumps(record))


def test_a_part_that_is_complete(tmp_path):
    with serving() as server:
        leave_part(tmp_path, BODY, url=server.url())
        got = get(server, tmp_path / "x.tar", md5=MD5, size=len(BODY))
    assert (tmp_path / "x.tar").read_bytes() == BODY
    assert sum(server.sent) == 0
    assert got.resumed_from == len(BODY)


def test_a_part_that_is_too_long(tmp_path):
    with serving() as server:
        leave_part(tmp_path, BODY + b"more", url=server.url())
        assert get(server, tmp_path / "x.tar").sha256 == SHA256
    assert server.header("Range") == [f"bytes={len(BODY) + 4}-", None]


def test_a_part_of_another_address_or_without_a_record(tmp_path):
    with serving() as server:
        leave_part(tmp_path, OTHER[:500_000], url="http://elsewhere/x.tar")
        get(server, tmp_path / "x.tar")
        (tmp_path / "y.tar.part").write_bytes(OTHER[:500_000])
        get(server, tmp_path / "y.tar")
        odd = ['{"url"', "[]", json.dumps({"url": server.url(), "etag": 7, "last_modified": None, "bytes": "x"})]
        for name, record in zip("zuv", odd, strict=True):
            (tmp_path / f"{name}.tar.part").write_bytes(OTHER[:500_000])
            (tmp_path / f"{name}.tar.part.json").write_text(record)
            get(server, tmp_path / f"{name}.tar")
    assert server.header("Range") == [None] * 5
    assert {(tmp_path / f"{name}.tar").read_bytes() for name in "xyzuv"} == {BODY}


def test_without_a_validator_only_a_checksum_lets_it_go_on(tmp_path):
    with serving() as server:
        for checksum, expected in ((None, None), (MD5, "bytes=500000-")):
            leave_part(tmp_path, BODY[:500_000], tag=None, url=server.url())
            get(server, tmp_path / "x.tar", md5=checksum)
            assert server.header("Range")[-1] == expected
            (tmp_path / "x.tar").unlink()


def test_a_killed_process_is_gone_on_with(tmp_path):
    code = "import sys, pathlib; from alexnet.archives.download import fetch; fetch(sys.argv[1], pathlib.Path('x.tar'))"
    with serving(plain(pause=0.02), plain()) as server:
        child = subprocess.Popen(
            [sys.executable, "-c", code, server.url("/x.tar?key=" + SECRET)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        part = tmp_path / "x.tar.part"
        deadline = time.monotonic() + 10
        while not (part.exists() and part.stat().st_size >= 300_000):
            assert time.monotonic() < deadline and child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        there = part.stat().st_size
        assert SECRET not in (tmp_path / "x.tar.part.json").read_text()
        got = get(server, tmp_path / "x.tar", "/x.tar?key=" + SECRET, md5=MD5)
    assert there <= got.resumed_from < len(BODY) and got.sha256 == SHA256
    assert server.sent[1] == len(BODY) - got.resumed_from < len(BODY)
    assert (tmp_path / "x.tar").read_bytes() == BODY
    assert left(tmp_path) == ["x.tar"]


# Checksums --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_wrong_checksum(tmp_path, kind):
    digest = hashlib.new(kind, OTHER).hexdigest()
    expected = {"md5": MD5, "sha256": SHA256}[kind]
    with (
        serving(plain(OTHER)) as server,
        pytest.raises(UserError, match=f"x.tar from .* has {kind} {digest}, expected is {expected}"),
    ):
        get(server, tmp_path / "x.tar", **{kind: expected})
    assert len(server.requests) == 1
    assert left(tmp_path) == []


def test_a_wrong_part_is_fetched_afresh_once(tmp_path):
    with serving() as server:
        leave_part(tmp_path, OTHER[:500_000], url=server.url())
        got = get(server, tmp_path / "x.tar", md5=MD5)
    assert (tmp_path / "x.tar").read_bytes() == BODY
    assert (got.resumed_from, got.attempts) == (0, 2)
    with serving(plain(OTHER)) as server:
        leave_part(tmp_path, OTHER[:500_000], url=server.url())
        (tmp_path / "x.tar").unlink()
        with pytest.raises(UserError, match=r"x\.tar from .* has md5"):
            get(server, tmp_path / "x.tar", md5=MD5)
    assert server.header("Range") == ["bytes=500000-", None]


def test_a_target_that_is_there_is_checked(tmp_path):
    (tmp_path / "x.tar").write_bytes(BODY)
    (tmp_path / "y.tar").write_bytes(OTHER)
    with serving() as server:
        assert get(server, tmp_path / "x.tar", md5=MD5).attempts == 0
        with pytest.raises(UserError, match=r"y\.tar is there already, but has md5"):
            get(server, tmp_path / "y.tar", md5=MD5)
    assert server.requests == []
    assert (tmp_path / "y.tar").read_bytes() == OTHER


# Redirects ----------------------------------------------------------------------------------------------

LOGINS = [Credentials(USER, SECRET), Credentials(token=SECRET)]


def test_netrc_is_not_read(tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login {USER} password {SECRET}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with serving(redirect("/moved"), plain()) as server:
        get(server, tmp_path / "x.tar")
    assert server.header("Authorization") == [None, None]


def test_redirects_end(tmp_path):
    with serving(redirect("/again")) as server, pytest.raises(UserError, match="redirects more than 5 times"):
        get(server, tmp_path / "x.tar")
    assert len(server.requests) == 6


@pytest.mark.parametrize("place", ["ftp://127.0.0.1/x.tar", "file:///etc/passwd", "http://[bad/x"])
def test_redirects_to_other_protocols_are_refused(tmp_path, place):
    with serving(redirect(place)) as server, pytest.raises(UserError, match="only http:// and https:// are possible"):
        get(server, tmp_path / "x.tar")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://u:p@h.org:8/a/b?key=1#c", "https://h.org:8/a/b"),
        ("https://h.org/a@b?key=1", "https://b"),
        ("https://u:p/q@h.org/a", "an address that is no URL"),
        ("ftp://u:p@h.org/a", "an address that is no URL"),
        ("u:p@h.org", "an address that is no URL"),
    ],
)
def test_public(url, expected):
    assert public(url) == expected


@pytest.mark.parametrize("url", ["ftp://h/x", "file:///x", "x.tar", "http://", "http://h:p/x", "http://[x/"])
def test_addresses_that_are_none(tmp_path, url):
    with pytest.raises(UserError, match="only http:// and https:// are possible"):
        fetch(url, tmp_path / "x.tar")


# Refusals and retries ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "login", "message"),
    [
        (401, None, "set ALEXNET_USER and ALEXNET_PASSWORD, or ALEXNET_TOKEN"),
        (403, None, "refuses access .403.; set ALEXNET_USER"),
        (403, LOGINS[0], "the credentials in the environment are for image-net.org"),
        (404, None, "x.tar is not at http://127.0.0.1:.*/x.tar .404."),
        (400, None, "answers with status 400"),
        (206, None, "answers with status 206"),
    ],
)
def test_refusals_come_at_once(tmp_path, code, login, message):
    with serving(status(code)) as server, pytest.raises(UserError, match=message):
        get(server, tmp_path / "x.tar", credentials=login)
    assert len(server.requests) == 1
    assert left(tmp_path) == []


def test_a_web_page_is_not_the_archive(tmp_path):
    with (
        serving(plain(b"<html>please log in</html>", Content_Type="text/html; charset=utf-8")) as server,
        pytest.raises(UserError, match="answers with a web page, not with the file"),
    ):
        get(server, tmp_path / "x.tar")
    assert left(tmp_path) == []


def test_bytes_stay_as_they_were_sent(tmp_path):
    with serving(plain(Content_Encoding="x-gzip")) as server:
        assert get(server, tmp_path / "x.tar.gz").sha256 == SHA256


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_passing_trouble(tmp_path, code):
    with serving(status(code), plain()) as server:
        assert get(server, tmp_path / "x.tar", sha256=SHA256).attempts == 2


def test_the_server_says_how_long_to_wait(tmp_path):
    with serving(status(429, Retry_After="1"), plain()) as server:
        start = time.monotonic()
        assert get(server, tmp_path / "x.tar").attempts == 2
    assert 1 <= time.monotonic() - start < 4


def noting(pauses):
    """A sleep that notes the pauses of this thread instead; servers sleep as ever."""
    sleep, own = time.sleep, threading.current_thread()
    return lambda seconds: (pauses.append if threading.current_thread() is own else sleep)(seconds)


@pytest.mark.parametrize(
    ("words", "least", "most"),
    [
        ("7", 7, 7),
        ("100000", 120, 120),
        pytest.param(email.utils.formatdate(time.time() + 86400, usegmt=True), 120, 120, id="tomorrow"),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.5, 1.5),
        ("Wed, 21 Oct 99999999999999 07:28:00 GMT", 0.5, 120),
        ("soon", 0.5, 1.5),
        ("-5", 0.5, 1.5),
    ],
)
def test_retry_after(tmp_path, monkeypatch, words, least, most):
    pauses = []
    monkeypatch.setattr(time, "sleep", noting(pauses))
    with serving(status(503, Retry_After=words), plain()) as server:
        get(server, tmp_path / "x.tar", backoff=1.0)
    assert len(pauses) == 1 and least <= pauses[0] <= most


# Servers that never end -------------------------------------------------------------------------------------


def endless(size=1000, pause=0.0, length=None):
    """Chunks without end, or bytes that come slowly."""

    def step(handler, number):
        handler.send_response(200)
        if length:
            handler.send_header("Content-Length", str(length))
        else:
            handler.send_header("Transfer-Encoding", "chunked")
        handler.send_header("ETag", '"one"')
        handler.end_headers()
        block = bytes(size) if length else b"%x\r\n%b\r\n" % (size, bytes(size))
        while True:
            handler.wfile.write(block)
            handler.server.sent[handler.number] += size
            time.sleep(pause)

    return step


def test_a_file_without_an_end_has_a_ceiling(tmp_path):
    with (
        serving(endless(size=50_000)) as server,
        pytest.raises(UserError, match=r"goes on after 2\.0 MB, the most that it may have; it was deleted"),
    ):
        get(server, tmp_path / "x.tar", most=2_000_000)
    assert len(server.requests) == 1 and left(tmp_path) == []


def test_a_length_above_the_ceiling_is_refused_before_the_body(tmp_path):
    with (
        serving() as server,
        pytest.raises(UserError, match=f"has {len(BODY)} bytes at .*, expected are at most 999999"),
    ):
        get(server, tmp_path / "x.tar", most=len(BODY) - 1)
    assert left(tmp_path) == []


@pytest.mark.parametrize("length", [None, 1_000_000])
def test_a_byte_at_a_time_is_given_up(tmp_path, length):
    start = time.monotonic()
    with (
        serving(endless(1, 0.05, length)) as server,
        pytest.raises(UserError, match=r"the server is too slow: fewer than 1\.0 kB a second, after 3 attempts"),
    ):
        get(server, tmp_path / "x.tar", slowest=1000.0, window=0.4, attempts=3)
    assert len(server.requests) == 3 and time.monotonic() - start < 15


@pytest.mark.parametrize(
    "before", [b"HTTP/1.1 200 OK\r\nX-Long: ", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
)
def test_headers_that_dribble_are_given_up(tmp_path, before):
    """A header line, or the line before a chunk, that comes a letter at a time and never ends."""

    def step(handler, number):
        handler.wfile.write(before)
        for _ in range(200):
            handler.wfile.write(b"1")
            time.sleep(0.05)

    start = time.monotonic()
    with serving(step) as server, pytest.raises(UserError, match=r"the answer comes too slowly, after 2 attempts"):
        get(server, tmp_path / "x.tar", timeout=0.5, window=0.6, attempts=2)
    assert len(server.requests) == 2 and time.monotonic() - start < 15


def test_a_few_bytes_a_connection_are_given_up(tmp_path):
    """Each answer brings a little more and breaks off: that would go on for days."""
    with (
        serving(*(plain(cut=100 * i) for i in range(1, 10))) as server,
        pytest.raises(UserError, match=r"after 4 attempts; run the same again later: it goes on at 400 bytes"),
    ):
        get(server, tmp_path / "x.tar", attempts=4)
    assert len(server.requests) == 4


def test_every_published_file_has_a_ceiling():
    assert all(file.most == file.bytes if file.bytes else 0 < file.most < 1e12 for file in KNOWN.values())


def test_within_a_call_a_rest_without_validator_and_checksum_is_not_asked_for(tmp_path):
    with serving(plain(tag=None, cut=600_000), plain(tag=None)) as server:
        assert get(server, tmp_path / "x.tar").sha256 == SHA256
    assert server.header("Range") == [None, None]


def test_the_pauses_grow(tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(time, "sleep", noting(pauses))
    with serving(status(503)) as server:
        with pytest.raises(UserError, match="the server answers 503, after 6 attempts; run the same again later"):
            get(server, tmp_path / "x.tar", attempts=6, backoff=1.0)
        assert len(server.requests) == 6
    assert len(pauses) == 5
    assert all(0.5 * 2**i <= pause <= 1.5 * 2**i for i, pause in enumerate(pauses))


def test_nobody_answers(tmp_path):
    with serving() as server:
        url = server.url(f"/x.tar?key={SECRET}")
    with pytest.raises(UserError, match=r"x\.tar cannot be fetched from .*: the connection failed") as raised:
        fetch(url, tmp_path / "x.tar", attempts=2, backoff=0.01, timeout=2)
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    assert raised.value.__context__ is None


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (requests.exceptions.InvalidURL(SECRET), "cannot be asked for at https://h.org/x .InvalidURL."),
        (requests.exceptions.SSLError(f"{SECRET} CERTIFICATE_VERIFY_FAILED"), "certificate of https://h.org/x"),
    ],
)
def test_errors_of_the_library_are_not_repeated(tmp_path, monkeypatch, error, message):
    def fail(*args, **more):
        raise error

    monkeypatch.setattr(requests.Session, "get", fail)
    with pytest.raises(UserError, match=message) as raised:
        fetch(f"https://h.org/x?key={SECRET}", tmp_path / "x.tar")
    assert SECRET not in str(raised.value)
    assert raised.value.__context__ is raised.value.__cause__ is None


def test_silence_is_a_failure(tmp_path):
    def step(handler, number):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.send_header("ETag", '"one"')
        handler.end_headers()
        handler.wfile.write(BODY[:300_000])
        handler.wfile.flush()
        time.sleep(1)

    with serving(step, plain()) as server:
        got = get(server, tmp_path / "x.tar", timeout=0.3)
    assert got.sha256 == SHA256 and got.resumed_from > 0


# The disk, and others ---------------------------------------------------------------------------------------


def test_no_room(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1234)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: usage)
    with serving() as server:
        with pytest.raises(
            UserError, match=r"needs 1\.0 MB more \(1000000 bytes\), but .* has 1\.2 kB \(1234 bytes\) free"
        ):
            get(server, tmp_path / "x.tar")
        leave_part(tmp_path, BODY[:-1234], url=server.url())
        assert get(server, tmp_path / "x.tar").sha256 == SHA256


def test_a_disk_that_gets_full_keeps_the_part(tmp_path, monkeypatch):
    def full(self, path, mode):
        file = open(path, mode, buffering=0)

        class Full:
            def __enter__(self):
                return self

            def __exit__(self, *error):
                file.close()

            def write(self, block):
                if file.tell() + len(block) > 500_000:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return file.write(block)

        return Full()

    with serving() as server:
        with monkeypatch.context() as patch:
            patch.setattr(download, "open", lambda p, m: full(None, p, m) if m == "ab" else open(p, m), raising=False)
            with pytest.raises(UserError, match="x.tar cannot be written to .*: No space left on device"):
                get(server, tmp_path / "x.tar")
        there = (tmp_path / "x.tar.part").stat().st_size
        assert 300_000 < there <= 500_000
        got = get(server, tmp_path / "x.tar", md5=MD5)
    assert got.resumed_from == there
    assert left(tmp_path) == ["x.tar"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with serving() as server, pytest.raises(UserError, match=r"x\.tar cannot be written to .*file"):
        get(server, tmp_path / "file" / "x.tar")


def test_two_at_once_fetch_once(tmp_path):
    results, lines = [], io.StringIO()
    with serving(plain(pause=0.005)) as server:

        def work():
            results.append(get(server, tmp_path / "x.tar", md5=MD5, progress=lines))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert [got.sha256 for got in results] == [SHA256] * 3
    assert len(server.requests) == 1
    assert "waits for another process" in lines.getvalue()
    assert left(tmp_path) == ["x.tar"]


def test_progress(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "PROGRESS_SECONDS", 0.1)
    lines = io.StringIO()
    with serving(plain(pause=0.004)) as server:
        get(server, tmp_path / "x.tar", progress=lines)
    shown = lines.getvalue().splitlines()
    assert 1 < len(shown) < 15
    pattern = r"download x\.tar  [01]\.\d/1\.0 MB  [\d.]+ MB/s  ETA 0:00:0\d"
    assert all(re.fullmatch(pattern, line) for line in shown[:-1])


# Published archives -----------------------------------------------------------------------------------------


def test_missing_archives_are_fetched_by_their_published_paths(tmp_path, monkeypatch):
    known = KnownFile("x.tar", "2012/x.tar", len(BODY), MD5, None, "a page")
    monkeypatch.setitem(KNOWN, "x.tar", known)
    with serving() as server:
        lines = io.StringIO()
        base = server.url("/data/ILSVRC/")
        assert fetch_missing(["x.tar"], base, tmp_path, LOGINS[0], lines) == [tmp_path / "x.tar"]
        assert [path for path, _ in server.requests] == ["/data/ILSVRC/2012/x.tar"]
        with pytest.raises(UserError, match=r"y\.tar cannot be downloaded"):
            fetch_missing(["x.tar", "y.tar"], base, tmp_path)
        monkeypatch.setitem(KNOWN, "x.tar", KnownFile("x.tar", "x.tar", None, "0" * 32, None, "a page"))
        (tmp_path / "x.tar").unlink()
        with pytest.raises(UserError, match=f"has md5 {MD5}, expected is {'0' * 32}"):
            fetch_missing(["x.tar"], base, tmp_path)
    with pytest.raises(UserError, match="only http:// and https:// are possible"):
        fetch_missing(["x.tar"], "ftp://h", tmp_path)


def test_what_is_known_is_well_formed():
    for name, file in KNOWN.items():
        assert name == file.name == file.path.rsplit("/")[-1]
        assert file.md5 is None or re.fullmatch("[0-9a-f]{32}", file.md5)
        assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
        assert file.bytes is None or file.bytes > 0
        assert file.page
    assert KNOWN["ILSVRC2012_img_train.tar"].path == "2012/ILSVRC2012_img_train.tar"
    assert {file.md5 for file in KNOWN.values() if file.path.startswith("2010/")} == {None}


FILES_OF = {
    "ilsvrc2012": [name for name in KNOWN if name.startswith("ILSVRC2012")],
    "ilsvrc2010": [name for name in KNOWN if name.startswith("ILSVRC2010")] + ["patch_images.tar"],
    "imagenette": ["imagenette2-224-train.tar.gz", "imagenette2-224-val.tar.gz"],
    "cifar10": ["cifar-10-python.tar.gz"],
    "tiny_imagenet": ["tiny-imagenet-200.zip"],
    "fall2009": ["fall2009.tar"],
    "folders": ["train/<class>/<image>"],
}


@pytest.mark.parametrize("base_url", [None, f"https://{USER}:{SECRET}@mirror.org/data?key={SECRET}"])
@pytest.mark.parametrize("source", FILES_OF)
def test_what_is_missing_fits_one_screen(source, base_url):
    folders = ["data", "/a/long/path/to/the/archives/of/everybody", "/another/long/path/to/archives"]
    text = describe_missing(source, FILES_OF[source], folders, base_url)
    lines = f"error: study {source}: {text}".splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= known_files.WIDTH
    assert SECRET not in text
    joined = " ".join(text.split())
    for part in (source, *folders, *FILES_OF[source]):
        assert part in joined
    known = [KNOWN[name] for name in FILES_OF[source] if name in KNOWN]
    for file in known:
        assert (file.sha256 or file.md5 or "no checksum published") in text
        assert joined.lower().count(file.page.lower()) == 1
    assert ("ALEXNET_TOKEN" in text) is bool(known)
    if known and not base_url:
        assert f"downloads: {{{source}: " in text


def test_what_is_missing_says_the_sizes():
    text = describe_missing("ilsvrc2012", FILES_OF["ilsvrc2012"], ["data"], None)
    assert re.search(r"ILSVRC2012_img_train\.tar +147\.9 GB +md5 1d675b47d978889d74fa0da5fadfb00e", text)
    assert re.search(r"ILSVRC2012_devkit_t12\.tar\.gz +size not published +md5 fa75699e", text)
    assert "  downloads: {ilsvrc2012: https://image-net.org/data/ILSVRC}\n" in text
    many = describe_missing("ilsvrc2010", list(KNOWN), [f"/folder/{i}" for i in range(30)], None)
    assert len(many.splitlines()) <= 24 and "and 26 more" in many and f"and {len(KNOWN) - 7} more" in many


def test_asking_what_is_known_loads_neither_torch_nor_requests():
    code = "import sys, alexnet.archives.known_files; print(sorted({'torch', 'requests', 'numpy'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
