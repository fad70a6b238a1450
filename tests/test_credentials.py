"""Who gets the credentials of the environment, seen in the headers of real servers on this machine."""

import io
import ssl
import subprocess
import traceback

import pytest
from test_download import SECRET, SHA256, USER, get, plain, redirect, serving, status, surroundings

from alexnet.__main__ import main
from alexnet.archives import download
from alexnet.archives.download import fetch
from alexnet.archives.web import Credentials
from alexnet.errors import UserError

__all__ = ["surroundings"]
LOGINS = [Credentials(USER, SECRET), Credentials(token=SECRET)]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of this machine's names, which are its own authority."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout",
            file,
            "-out",
            f"{file}.crt",
        ],
        check=True,
        capture_output=True,
    )
    file.write_text(file.read_text() + (file.parent / "both.pem.crt").read_text())
    return file


@pytest.fixture
def tls(certificate, monkeypatch):
    """What a server needs for https; requests takes its certificate for good."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def of_host(server, login, host="127.0.0.1"):
    """The login, for a server on this machine."""
    return Credentials(login.user, login.password, login.token, f"{host}:{server.server_port}")


@pytest.mark.parametrize("login", LOGINS, ids=["basic", "token"])
def test_credentials_go_to_their_host_alone(tmp_path, tls, login):
    with serving(tls=tls) as other, serving(tls=tls) as server:
        server.steps = [redirect("/moved/x.tar"), redirect(other.url(host="localhost"))]
        other.steps = [redirect(server.url("/back")), plain()]
        server.steps += [redirect(other.url())]
        assert get(server, tmp_path / "x.tar", credentials=of_host(server, login)).sha256 == SHA256
        assert server.header("Authorization") == [login.header()] * 3
        assert other.header("Authorization") == [None] * 2
        assert other.header("Cookie") == [None] * 2
        server.requests.clear()
        server.steps = [plain()]
        get(server, tmp_path / "y.tar", credentials=of_host(other, login))
        assert server.header("Authorization") == [None]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_configuration_that_names_another_server_gets_no_credentials(tmp_path, monkeypatch, capfd, tls, name):
    """The command that the workflow calls, with a configuration's `downloads` and the user's secrets."""
    words = ["pack", "--source", "ilsvrc2012", "--archives", str(tmp_path), "--out", str(tmp_path / "out")]
    monkeypatch.setenv("ALEXNET_USER", USER)
    monkeypatch.setenv("ALEXNET_PASSWORD", SECRET)
    with serving(status(403)) as plain_http, serving(status(403), tls=tls) as secure:
        for server, host, sentence in (
            (plain_http, "", "are for image-net.org and are not sent to http://"),
            (secure, "", "are for image-net.org and are not sent to https://"),
            (plain_http, f"{name}:{plain_http.server_port}", "credentials are sent over https only"),
            (secure, "127.0.0.1", "are for 127.0.0.1 and are not sent to https://"),  # another port
        ):
            monkeypatch.setenv("ALEXNET_HOST", host)
            monkeypatch.setenv("ALEXNET_DOWNLOADS", f'{{"ilsvrc2012": "{server.url("", name)}"}}')
            assert main(words) == 2
            told = capfd.readouterr().err
            assert told.splitlines()[0].startswith("download ILSVRC2012_devkit_t12.tar.gz  ")
            assert sentence in told.splitlines()[0] and "Traceback" not in told and SECRET not in told
            assert server.header("Authorization").pop() is None
        monkeypatch.setenv("ALEXNET_HOST", f"{name}:{secure.server_port}")
        monkeypatch.setenv("ALEXNET_DOWNLOADS", f'{{"ilsvrc2012": "{secure.url("", name)}"}}')
        assert main(words) == 2
        assert "check the values of ALEXNET_USER" in capfd.readouterr().err
        assert secure.header("Authorization").pop() == LOGINS[0].header()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("host", "url", "sent"),
    [
        ("a.org", "https://a.org/y", True),
        ("a.org", "https://A.org:443/y", True),
        ("a.org:443", "https://a.org/y", True),
        ("a.org", "https://a.org:444/y", False),
        ("a.org:444", "https://a.org:444/y", True),
        ("a.org", "https://b.a.org/y", False),
        ("a.org", "https://a.org.evil.org/y", False),
        ("a.org", "http://a.org/x", False),
        ("a.org:443", "http://a.org:443/x", False),
        ("127.0.0.1:8", "http://127.0.0.1:8/x", False),
    ],
)
def test_where_credentials_may_go(host, url, sent):
    assert (not Credentials(USER, SECRET, host=host).withheld(url)) is sent


def test_https_is_not_left(tmp_path, tls):
    with (
        serving() as other,
        serving(redirect(other.url(f"/x?key={SECRET}")), tls=tls) as server,
        pytest.raises(UserError, match=r"redirects from https to http .*, which is refused") as raised,
    ):
        get(server, tmp_path / "x.tar")
    assert SECRET not in str(raised.value) and other.requests == []


def test_user_and_password_in_an_address_are_refused(tmp_path):
    with serving() as server, pytest.raises(UserError, match="holds a user or a password") as raised:
        fetch(server.url().replace("http://", f"http://{USER}:{SECRET}@"), tmp_path / "x.tar")
    assert SECRET not in str(raised.value) and server.requests == []


def test_credentials_of_the_environment():
    assert Credentials.from_environment({}) is None
    both = Credentials.from_environment({"ALEXNET_USER": USER, "ALEXNET_PASSWORD": SECRET})
    assert both == Credentials(USER, SECRET, host="image-net.org") and both.header().startswith("Basic ")
    token = Credentials.from_environment({"ALEXNET_TOKEN": SECRET + "\n", "ALEXNET_HOST": " Mirror.org "})
    assert (token.header(), token.host) == (f"Bearer {SECRET}", "mirror.org")
    assert SECRET not in repr(both) + repr(token) and USER not in repr(both)
    with pytest.raises(UserError, match="only one is set"):
        Credentials.from_environment({"ALEXNET_USER": USER})
    with pytest.raises(UserError, match="ALEXNET_TOKEN") as raised:
        Credentials.from_environment({"ALEXNET_TOKEN": f"{SECRET}\r\nHost: x"})
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("code", [200, 302, 401, 403, 404, 416, 418, 503])
@pytest.mark.parametrize("login", LOGINS, ids=["basic", "token"])
def test_secrets_are_nowhere(tmp_path, code, login, capfd, monkeypatch, tls):
    monkeypatch.setattr(download, "PROGRESS_SECONDS", 0.0)
    lines = io.StringIO()
    path = f"/x.tar?key={SECRET}&user={USER}"
    with (
        serving(status(code, Location=f"/y?{SECRET}") if code != 200 else plain(cut=300_000), tls=tls) as server,
        pytest.raises(UserError) as raised,
    ):
        get(server, tmp_path / "x.tar", path, credentials=of_host(server, login), progress=lines, attempts=2)
    told = "".join(traceback.format_exception(raised.value)) + lines.getvalue() + "".join(capfd.readouterr())
    told += "".join(file.read_bytes().decode("latin-1") for file in tmp_path.iterdir())
    error = raised.value
    while error:
        told += repr(error)
        error = error.__context__ or error.__cause__
    assert server.header("Authorization")[0] == login.header() and "x.tar" in told
    for secret in (SECRET, login.header(), login.header().split()[1]):
        assert secret not in told
