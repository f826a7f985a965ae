"""The page of a server: what it answers, and what a real browser makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from machine import Machine, Program, program
from rigs import until

from aiotun.wireguard.config_file import parse_config
from aiotun.wireguard.keys import encode_key, public_key_of
from aiotun.wireguard.server import Server
from aiotun.wireguard.stores.file import ConfigFile
from aiotun.wireguard.web.listening import listening
from aiotun.wireguard.web.page import Page

pytestmark = pytest.mark.requires("tun", "netns")

SERVER, PHONE = (encode_key(bytes([n]) * 32) for n in (8, 1))
SECRET = encode_key(bytes([9]) * 32)
HOSTILE = "<img src=x onerror=document.title=1>"

TEXT = f"""\
[Interface]
PrivateKey = {SERVER}
ListenPort = 51820
Address = 10.9.0.1/24

# {HOSTILE}
[Peer]
PublicKey = {PHONE}
PresharedKey = {SECRET}
AllowedIPs = 10.9.0.2/32
"""

TOKEN = "secret-token"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "wg9.conf"
    path.write_text(TEXT)
    path.chmod(0o600)
    return path


def peers_of(file: Path) -> list[bytes]:
    return [peer.public_key for peer in parse_config(file.read_text()).peers]


class Site:
    """The page, asked over HTTP."""

    def __init__(self, server: Server, session: aiohttp.ClientSession, url: str) -> None:
        self.server = server
        self.session = session
        self.url = url

    async def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {TOKEN}", **headers}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.request(
            method, self.url + path, data=data, headers=headers
        ) as answer:
            if path != "api/events" or answer.status != 200:
                return answer.status, await answer.text()
            line = await answer.content.readuntil(b"\n\n")
            return answer.status, line.decode()

    async def state(self) -> dict[str, Any]:
        status, text = await self.ask("GET", "api/events")
        assert status == 200
        state: dict[str, Any] = json.loads(text.removeprefix("data: "))
        return state


@pytest.fixture
async def site(file: Path) -> AsyncIterator[Site]:
    server = Server(ConfigFile(file), "wg9")
    task = asyncio.ensure_future(server.run(uapi=False))
    try:
        await until(lambda: hasattr(server, "config") and server.config.peers)
        async with (
            listening(Page(server, TOKEN).app(), ("127.0.0.1", 0)) as url,
            aiohttp.ClientSession() as session,
        ):
            yield Site(server, session, url)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_what_it_shows(site: Site) -> None:
    """And no secret."""
    state = await site.state()
    (peer,) = state["peers"]
    assert (peer["name"], peer["public_key"], peer["enabled"]) == (HOSTILE, PHONE, True)
    assert state["interface"] == "wg9"
    assert SECRET not in json.dumps(state)
    assert SERVER not in json.dumps(state)


async def test_a_peer_from_add_to_remove(site: Site, file: Path) -> None:
    fields = {"name": "phone", "endpoint": "vpn.example.com:51820", "allowed_ips": ""}
    status, text = await site.ask("POST", "api/peers", fields)
    assert status == 200
    made = json.loads(text)
    client = parse_config(made["config"])
    assert str(client.addresses[0]) == "10.9.0.3/24"
    key = public_key_of(client.private_key)
    assert made["qr"].startswith("data:image/svg+xml")
    assert (await site.ask("POST", "api/peers", fields))[0] == 400  # the name is taken
    assert (await site.ask("POST", f"api/peers/{key.hex()}/disable"))[0] == 204
    assert key not in peers_of(file)
    assert (await site.ask("POST", f"api/peers/{key.hex()}/enable"))[0] == 204
    assert key in peers_of(file)
    assert (await site.ask("DELETE", f"api/peers/{key.hex()}"))[0] == 204
    assert key not in peers_of(file)
    assert (await site.ask("DELETE", f"api/peers/{key.hex()}"))[0] == 404


@pytest.mark.parametrize("path", ["api/events", "api/peers", "api/peers/00/disable"])
@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", "é"])
async def test_without_the_token(site: Site, path: str, authorization: str) -> None:
    method = "GET" if path == "api/events" else "POST"
    assert (await site.ask(method, path, Authorization=authorization))[0] == 401


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8080", "[::1]", "[::1]:8080", "localhost"]
)
async def test_where_a_browser_finds_it(site: Site, host: str) -> None:
    assert (await site.ask("GET", "api/events", Host=host, Origin=f"http://{host}"))[0] == 200


async def test_the_end_of_the_server_ends_the_events(site: Site) -> None:
    """As they should end: else the server waits for them in vain, and then cuts them off."""
    async with listening(Page(site.server, TOKEN).app(), ("127.0.0.1", 0)) as url:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = await site.session.get(url + "api/events", headers=headers)
        await answer.content.readuntil(b"\n\n")
    assert await answer.content.read() == b""


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example:8080"},
        {"Host": "[::1"},
    ],
)
async def test_another_site(site: Site, headers: dict[str, str]) -> None:
    """Even with the token, and also under a name of its own that leads here."""
    for method, path in (("GET", ""), ("GET", "api/events"), ("POST", "api/peers")):
        assert (await site.ask(method, path, **headers))[0] == 403


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 5000,
        b"\xff",
        [],
        {"name": 1},
        {"name": "a\n[Peer]", "endpoint": "a:1", "allowed_ips": ""},
        {"name": "../a", "endpoint": "a:1", "allowed_ips": ""},
        {"name": "a", "endpoint": "a\nb:1", "allowed_ips": ""},
        {"name": "a", "endpoint": "a", "allowed_ips": ""},
        {"name": "a", "endpoint": "a:1", "allowed_ips": "x"},
    ],
)
async def test_a_request_that_cannot_be(site: Site, file: Path, body: Any) -> None:
    assert (await site.ask("POST", "api/peers", body))[0] == 400
    assert len(peers_of(file)) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json; charset=none-such"},
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "deflate"},
    ],
)
async def test_a_body_that_is_not_what_it_says(site: Site, headers: dict[str, str]) -> None:
    status, text = await site.ask("POST", "api/peers", b"no JSON", **headers)
    assert (status, text) == (400, "the request is no JSON")


async def test_a_configuration_that_no_code_has_room_for(site: Site, file: Path) -> None:
    """The key in it is nowhere else: it is in the answer all the same."""
    networks = ",".join(f"10.{n}.0.0/16" for n in range(250))
    fields = {"name": "a", "endpoint": "a:1", "allowed_ips": networks}
    status, text = await site.ask("POST", "api/peers", fields)
    assert status == 200
    made = json.loads(text)
    assert made["qr"] == ""
    assert public_key_of(parse_config(made["config"]).private_key) in peers_of(file)


async def test_a_request_that_is_too_long(site: Site) -> None:
    assert (await site.ask("POST", "api/peers", b"x" * (1 << 15)))[0] == 413


@pytest.mark.parametrize("path", ["", "page.js", "page.css"])
async def test_what_the_page_may(site: Site, path: str) -> None:
    async with site.session.get(site.url + path) as answer:
        assert answer.status == 200
        assert "default-src 'none'; script-src 'self'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        text = await answer.text()
    assert "innerHTML" not in text


# In a real browser.


@contextlib.contextmanager
def browser(machine: Machine, folder: Path) -> Iterator[Any]:
    """Chromium in the machine's network, driven over its own protocol."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={folder}/chromium")
    service = Service("/usr/bin/chromedriver", log_output=str(folder / "chromedriver"))
    driver = machine.namespace.run(webdriver.Chrome, options=options, service=service)
    try:
        yield Browser(machine, driver)
    finally:
        machine.namespace.run(driver.quit)


class Browser:
    """A driver whose commands go out in the machine's network."""

    def __init__(self, machine: Machine, driver: Any) -> None:
        self._run = machine.namespace.run
        self._driver = driver

    def open(self, url: str) -> None:
        self._run(self._driver.get, url)

    def script(self, text: str, *arguments: object) -> Any:
        return self._run(self._driver.execute_script, text, *arguments)

    def until(self, expression: str) -> Any:
        """Wait until this is true in the page; return it."""
        from selenium.webdriver.support.wait import WebDriverWait

        def wait() -> Any:
            wait = WebDriverWait(self._driver, 20)
            return wait.until(lambda driver: driver.execute_script(f"return {expression}"))

        return self._run(wait)

    def screenshot(self) -> bytes:
        png: bytes = self._run(self._driver.get_screenshot_as_png)
        return png


@pytest.mark.interop
@pytest.mark.requires("mountns", "chromium")
@pytest.mark.timeout(180)
def test_in_a_browser(machine: Machine, file: Path, tmp_path: Path) -> None:
    """Add a peer, scan it, see its traffic, disable and remove it; a hostile name is text."""
    import zxingcpp
    from PIL import Image

    with contextlib.ExitStack() as stack:
        server: Program = stack.enter_context(
            machine.running(*program("serve", "--web", "127.0.0.1:8080", "wg9.conf"), cwd=tmp_path)
        )
        server.wait_for("the page is at")
        found = re.search(r"the page is at (\S+)", server.output)
        assert found is not None
        page: Browser = stack.enter_context(browser(machine, tmp_path))
        page.open("http://127.0.0.1:8080/#wrong")
        page.until("document.getElementById('summary').textContent.includes('token')")
        page.open("about:blank")
        page.open(found[1])
        page.until("document.querySelectorAll('#peers tr').length === 1")
        assert page.script("return location.hash") == ""
        assert page.script("return document.querySelector('#peers td').firstChild.data") == HOSTILE
        assert page.script("return document.querySelectorAll('#peers img').length") == 0
        page.script(
            "const form = document.getElementById('add');"
            "form.elements.name.value = 'phone'; form.elements.endpoint.value = '127.0.0.1:51820';"
            "form.querySelector('button').click();"
        )
        page.until("document.getElementById('client').open")
        page.until("document.getElementById('qr').naturalWidth")
        page.script(
            "document.getElementById('config').scrollIntoView(); "
            "document.getElementById('config').style.display = 'none';"
        )
        (code,) = zxingcpp.read_barcodes(Image.open(io.BytesIO(page.screenshot())))
        assert code.text == page.script("return document.getElementById('config').textContent")
        page.script("document.getElementById('close').click()")
        page.until("document.getElementById('config').textContent === ''")
        phone = parse_config(code.text)
        folder = tmp_path / "phone"
        folder.mkdir()
        (folder / "wg8.conf").write_text(code.text.replace("[Interface]", "[Interface]\nTable=off"))
        (folder / "wg8.conf").chmod(0o600)
        with machine.running(*program("serve", "--no-uapi", "wg8.conf"), cwd=folder) as client:
            key = public_key_of(phone.private_key).hex()
            row = f"document.querySelector('tr[data-key=\"{key}\"]')"
            page.until(f"{row} && {row}.cells[3].textContent.endsWith('s ago')")
            assert page.script(f"return {row}.cells[4].textContent") != "0 B"
            client.end(signal.SIGTERM)
        page.script(f"{row}.querySelector('button').click()")
        page.until(f"{row}.className === 'disabled'")
        assert bytes.fromhex(key) not in peers_of(file)
        page.script("window.confirm = () => true")
        page.script(f"{row}.querySelectorAll('button')[1].click()")
        page.until(f"!{row}")
        assert page.script("return document.title").startswith("wg9")
        server.end(signal.SIGTERM)
