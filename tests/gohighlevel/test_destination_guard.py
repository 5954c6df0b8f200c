"""No URL that a person enters leads JobSync into its own network, or anywhere unencrypted (security bar X5)."""

from __future__ import annotations

import datetime
import ssl
from ipaddress import ip_address
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jobsync.errors import ConfigError, DestinationRefused
from jobsync.gohighlevel.destination_guard import Guard, GuardedResolver, is_public, make_session, mask_url
from jobsync.gohighlevel.outcomes import Outcome
from jobsync.gohighlevel.webhook import post_webhook
from tests.gohighlevel.stand_in import Names, answer, listen_for_canary, serve

pytestmark = pytest.mark.anyio

PATH = "/hooks/loc5550100/webhook-trigger/0f1e2d3c"
OURS = "services.leadconnectorhq.com"

REFUSED = [
    # no https
    f"http://{OURS}{PATH}", f"ftp://{OURS}{PATH}", "file:///etc/passwd", "gopher://127.0.0.1:6379/_x", "data:,x",
    "javascript:alert(1)", f"ws://{OURS}{PATH}", f"//{OURS}{PATH}", f"{OURS}{PATH}", "", " ", "https://", "https:///x",
    f"https:{OURS}{PATH}", f"https:/{OURS}{PATH}", f"https:///{OURS}{PATH}", f"https://:443{PATH}",
    # user and password
    f"https://user@{OURS}{PATH}", f"https://user:pass@{OURS}{PATH}", f"https://@{OURS}{PATH}", f"https://:@{OURS}{PATH}",
    f"https://{OURS}@127.0.0.1{PATH}", f"https://{OURS}:443@127.0.0.1{PATH}", f"https://{OURS}%40127.0.0.1{PATH}",
    # odd ports
    f"https://{OURS}:80{PATH}", f"https://{OURS}:8443{PATH}", f"https://{OURS}:0{PATH}", f"https://{OURS}:22{PATH}",
    f"https://{OURS}:99999{PATH}", f"https://{OURS}:-1{PATH}", f"https://{OURS}:44 3{PATH}", f"https://{OURS}:x{PATH}",
    f"https://{OURS}:443:80{PATH}", f"https://{OURS}:{PATH}",
    # loopback and private addresses
    "https://127.0.0.1/x", "https://127.1/x", "https://127.0.1/x", "https://localhost/x", "https://localhost./x",
    "https://LOCALHOST/x", "https://0.0.0.0/x", "https://0/x", "https://10.0.0.1/x", "https://172.16.0.1/x",
    "https://192.168.1.1/x", "https://100.64.0.1/x", "https://169.254.169.254/latest/meta-data/",
    "https://metadata.google.internal/computeMetadata/v1/", "https://[::1]/x", "https://[::]/x", "https://[fd00::1]/x",
    "https://[fe80::1]/x", "https://[fe80::1%25eth0]/x", "https://[::ffff:127.0.0.1]/x", "https://[::ffff:7f00:1]/x",
    "https://[64:ff9b::7f00:1]/x", "https://[2002:7f00:1::]/x", "https://[::127.0.0.1]/x", "https://[0:0:0:0:0:0:0:1]/x",
    "https://[::1/x", "https://::1/x", "https://[v1.fe80::a]/x",
    # addresses written as numbers
    "https://2130706433/x", "https://0x7f000001/x", "https://0x7f.0.0.1/x", "https://0177.0.0.1/x",
    "https://017700000001/x", "https://127.0.0.1./x", "https://0x7f.1/x", "https://3232235777/x",
    "https://00000177.0.0.0x1/x", "https://①②⑦.⓪.⓪.①/x",
    # other hosts, and names that only look like ours
    "https://example.com/x", "https://8.8.8.8/x", f"https://{OURS}.example.com{PATH}", f"https://x.{OURS}{PATH}",
    f"https://example.com/{OURS}{PATH}", "https://services-leadconnectorhq.com/x", "https://leadconnectorhq.com/x",
    f"https://{OURS}.{PATH}", f"https://{OURS}..{PATH}", "https://services.leadconnectorhq.com。/x",
    "https://servıces.leadconnectorhq.com/x", "https://ｓervices.leadconnectorhq.com/x", "https://127.0.0.1.nip.io/x",
    # what two parsers read differently
    f"https://{OURS}\\@127.0.0.1{PATH}", f"https://127.0.0.1\\.{OURS}{PATH}", f"https://{OURS}#@127.0.0.1{PATH}",
    f"https://127.0.0.1#{OURS}{PATH}", f"https://{OURS}{PATH}#x", f"https://{OURS}\t{PATH}",
    f"https://{OURS}\r\nX: y{PATH}", f"https://{OURS}{PATH}\x00", f"https://{OURS}%2e{PATH}", f"https://{OURS}%00.example.com{PATH}",
    f" https://{OURS}{PATH}",
    f"https://{OURS}{PATH}\n", f"https://127.0.0.1,{OURS}{PATH}", f"https://{OURS};127.0.0.1{PATH}",
    f"https://{OURS}" + "x" * 3000,
    f"https://{OURS}{PATH}é", f"https://{OURS}?@127.0.0.1{PATH}".replace("?", "&"),
]  # fmt: skip


def test_the_list_of_refused_urls_is_long_enough():
    assert len(set(REFUSED)) == len(REFUSED) >= 100


@pytest.mark.parametrize("url", REFUSED)
def test_a_bad_url_is_refused_and_not_repeated(url):
    with pytest.raises(DestinationRefused) as caught:
        Guard().check_url(url)
    said = f"{caught.value.message} {caught.value.hint}"
    assert PATH not in said and "127.0.0.1" not in said and caught.value.__context__ is None


@pytest.mark.parametrize(
    "url",
    [
        f"https://{OURS}{PATH}",
        f"https://{OURS}:443{PATH}",
        f"HTTPS://{OURS.upper()}{PATH}",
        f"https://{OURS}{PATH}?a=%20b",
    ],
)
def test_a_hook_as_gohighlevel_shows_it_is_let_through(url):
    Guard().check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/x",
        "http://hooks.test/x",
        "https://hooks.test:9/x",
        "http://[::1]:1/x",
        "http://n8n:5678/x",
    ],
)
def test_an_exempt_host_may_be_private_plain_and_at_any_port_but_not_malformed(url):
    guard = Guard(["127.0.0.1", " Hooks.TEST. ", "[::1]:80", "n8n:1", ""])
    guard.check_url(url)
    with pytest.raises(DestinationRefused):
        guard.check_url(url.replace("://", "://user:pass@"))
    with pytest.raises(DestinationRefused):
        Guard().check_url(url)


@pytest.mark.parametrize(
    "url", ["https://example.com/x", "https://1.1.1.1/x", "https://[2606:4700::1111]/x", "https://a-b.c1.org./"]
)
def test_any_public_host_may_be_let_through_for_other_uses(url):
    Guard(hosts=None).check_url(url)


@pytest.mark.parametrize("url", [u for u in REFUSED if "example.com" not in u and "8.8.8.8" not in u and OURS not in u])
def test_with_any_public_host_allowed_private_ones_stay_refused(url):
    by_name_only = ("localhost", "LOCALHOST", ".internal", "nip.io", "leadconnectorhq")
    if any(name in url for name in by_name_only) and url.isascii():
        Guard(hosts=None).check_url(url)  # its address is checked when it is resolved
        return
    with pytest.raises(DestinationRefused):
        Guard(hosts=None).check_url(url)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.31.0.1",
        "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
        "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:10.0.0.1", "::ffff:127.0.0.1",
        "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:102:304::1", "2001:db8::1", "2002:7f00:1::",
        "2002:a00:1::1", "3fff::1", "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0", "2606:4700::1%eth0", "fec0::1",
        "ff02::1", "5f00::1", "", "localhost", "1.2.3", "0x7f000001",
    ],
)  # fmt: skip
def test_no_address_inside_counts_as_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"]
)
def test_addresses_of_the_open_internet_count_as_public(address):
    assert is_public(address)


async def test_no_refused_url_ever_reaches_a_socket():
    async with listen_for_canary() as canary:
        names = Names([("127.0.0.1", canary.port)])
        guard = Guard()
        async with make_session(guard, resolver=names) as session:
            for url in REFUSED:
                at_canary = [url.replace(host, f"{host}:{canary.port}") for host in ("127.0.0.1", "localhost", "[::1]")]
                for form in (url, *at_canary):
                    came = await post_webhook(session, form, b"{}", guard=guard)
                    assert came.outcome is Outcome.REJECTED and came.status is None
        assert canary.connections == 0 and names.asked == []


async def test_our_own_hosts_name_leading_inside_reaches_no_socket():
    async with listen_for_canary() as canary:
        for address in ("127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "10.0.0.1"):
            names = Names([(address, canary.port)])
            guard = Guard()
            async with make_session(guard, resolver=names) as session:
                came = await post_webhook(session, f"https://{OURS}{PATH}", b"{}", guard=guard)
            assert came.outcome is Outcome.REJECTED and "not public" in (came.error or "")
            assert names.asked == [OURS]
        assert canary.connections == 0


async def test_one_private_address_among_public_ones_is_enough_to_refuse():
    async with listen_for_canary() as canary:
        names = Names([("8.8.8.8", canary.port), ("::1", canary.port)])
        guard = Guard()
        async with make_session(guard, resolver=names) as session:
            came = await post_webhook(session, f"https://{OURS}{PATH}", b"{}", guard=guard)
        assert came.outcome is Outcome.REJECTED and canary.connections == 0


async def test_a_name_that_flips_from_public_to_loopback_after_the_check_reaches_no_socket():
    async with listen_for_canary() as canary:
        names = Names([("8.8.8.8", 443)], [("127.0.0.1", canary.port)])
        guard = Guard()
        assert [entry["host"] for entry in await GuardedResolver(guard, names).resolve(OURS, 443)] == ["8.8.8.8"]
        async with make_session(guard, resolver=names) as session:
            for _ in range(20):
                came = await post_webhook(session, f"https://{OURS}{PATH}", b"{}", guard=guard)
                assert came.outcome is Outcome.REJECTED
        assert canary.connections == 0


async def test_a_name_is_resolved_once_and_the_connection_goes_to_that_address():
    async with serve(answer({"id": "abc", "status": "Success"})) as site, listen_for_canary() as canary:
        names = Names([("127.0.0.1", site.port)], [("127.0.0.1", canary.port)])
        guard = Guard(["hooks.test"])
        async with make_session(guard, resolver=names) as session:
            came = await post_webhook(session, f"http://hooks.test{PATH}", b"{}", guard=guard)
        assert came.outcome is Outcome.ACCEPTED and names.asked == ["hooks.test"]
        assert canary.connections == 0 and site.asked[0].headers["Host"] == "hooks.test"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_the_inside_is_not_followed(status):
    async with listen_for_canary() as canary:
        for target in (f"http://127.0.0.1:{canary.port}/", "http://169.254.169.254/latest/"):
            async with serve(answer({}, status, Location=target)) as site:
                guard = Guard(["127.0.0.1", "169.254.169.254"])
                async with make_session(guard) as session:
                    came = await post_webhook(session, site.hook, b"{}", guard=guard)
                assert came.outcome is Outcome.REJECTED and came.status == status and len(site.asked) == 1
        assert canary.connections == 0


async def test_a_proxy_in_the_environment_is_ignored(monkeypatch):
    async with listen_for_canary() as proxy, serve(answer({"id": "abc"})) as site:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        guard = Guard(["127.0.0.1"])
        async with make_session(guard) as session:
            came = await post_webhook(session, site.hook, b"{}", guard=guard)
        assert came.outcome is Outcome.ACCEPTED and proxy.connections == 0


async def test_cookies_of_one_hook_are_not_carried_to_the_next_call():
    async with serve(answer({"id": "abc"}, Set_Cookie="session=1")) as site:
        guard = Guard(["hooks.test"])
        async with make_session(guard, resolver=Names([("127.0.0.1", site.port)])) as session:
            for _ in range(2):
                await post_webhook(session, f"http://hooks.test{PATH}", b"{}", guard=guard)
        assert "Cookie" not in site.asked[1].headers


async def test_the_certificate_must_be_of_the_name_that_was_asked_for(tmp_path):
    right, wrong, authority = _make_certificates(tmp_path)
    guard = Guard(["hooks.test"])
    for certificate, trusted, outcome in (
        (right, authority, Outcome.ACCEPTED),
        (wrong, authority, Outcome.UNSENT),
        (right, None, Outcome.UNSENT),
    ):
        async with serve(answer({"id": "abc"}), tls=certificate) as site:
            async with make_session(guard, resolver=Names([("127.0.0.1", site.port)]), ssl_context=trusted) as session:
                came = await post_webhook(session, f"https://hooks.test{PATH}", b"{}", guard=guard)
            assert came.outcome is outcome
            assert len(site.asked) == (1 if outcome is Outcome.ACCEPTED else 0)


async def test_certificate_checks_cannot_be_switched_off():
    unchecked = ssl.create_default_context()
    unchecked.check_hostname = False
    with pytest.raises(ConfigError):
        make_session(Guard(), ssl_context=unchecked)
    unchecked.verify_mode = ssl.CERT_NONE
    with pytest.raises(ConfigError):
        make_session(Guard(), ssl_context=unchecked)


async def test_a_name_without_an_address_is_a_failure_to_connect():
    async with make_session(Guard(["hooks.test"]), resolver=Names([])) as session:
        with pytest.raises(aiohttp.ClientConnectorDNSError):
            await session.get("http://hooks.test/")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"https://{OURS}/hooks/loc5550100/webhook-trigger/0f1e2d3c-9abc", f"{OURS}/...9abc"),
        ("https://hooks.test/short", "hooks.test/..."),
        ("https://user:secret@hooks.test/a-longer-path-here", "hooks.test/...here"),
        ("http://[::1", "?/..."),
        ("nonsense", "?/..."),
    ],
)
def test_of_a_hook_only_the_host_and_four_characters_are_shown(url, shown):
    assert mask_url(url) == shown


def _make_certificates(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext, ssl.SSLContext]:
    """(server context for hooks.test, one for other.test, client context that trusts their authority)."""
    now = datetime.datetime.now(datetime.UTC)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Invented Authority")])

    def issue(subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            .sign(authority_key, hashes.SHA256())
        )

    def serve_as(name: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ip_address("203.0.113.9"))])
        certificate = issue(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, names)
        path = folder / f"{name}.pem"
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    root = issue(authority_name, authority_key, x509.BasicConstraints(ca=True, path_length=0))
    trusting = ssl.create_default_context(cadata=root.public_bytes(serialization.Encoding.PEM).decode())
    return serve_as("hooks.test"), serve_as("other.test"), trusting
