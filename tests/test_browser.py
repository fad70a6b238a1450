"""The report in a real browser, offline: with and without scripts, by keyboard, on a phone, in the dark, on paper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
SIZES = {"laptop": (1280, 900), "phone": (390, 844)}
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    with playwright.sync_playwright() as p:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        made = p.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        yield made
        made.close()


@pytest.fixture
def tab(browser: Any, report: Path) -> Iterator[Any]:
    """The report on a laptop, with scripts."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    page = context.new_page()
    page.goto(report.as_uri())
    yield page
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scripts", [True, False], ids=["with JavaScript", "without JavaScript"])
def test_it_loads_offline_without_a_word_on_the_console(
    browser: Any, report: Path, tmp_path: Path, scripts: bool, size: str, scheme: str
) -> None:
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, java_script_enabled=scripts, offline=True
    )
    tab = context.new_page()
    requests: list[str] = []
    problems: list[str] = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.goto(f"{report.as_uri()}#claim-fig2-layer1")
    picture = tmp_path / "screen.png"
    tab.screenshot(path=str(picture))
    assert [address for address in requests if not address.startswith("data:")] == [report.as_uri()]
    assert problems == []
    assert picture.stat().st_size > 20_000
    assert tab.locator("#claim-fig2-layer1").is_visible()
    assert tab.locator("form.filter").is_visible() == scripts
    if scripts:
        assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    context.close()


def becomes(tab: Any, condition: str) -> None:
    """Wait for a condition, asked from outside: the page's policy refuses the polling that Playwright would put into it."""
    for _ in range(100):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"five seconds later it is not so: {condition}")


def shown(tab: Any) -> list[str]:
    """Ids of the claims that are visible."""
    found: list[str] = tab.evaluate(
        "[...document.querySelectorAll('article.claim')].filter(card => card.checkVisibility()).map(card => card.id)"
    )
    return found


def focused(tab: Any) -> str:
    name: str = tab.evaluate("document.activeElement.name || document.activeElement.textContent")
    return name


def tab_to(tab: Any, name: str) -> None:
    """Press the tabulator until the control of this name has the focus."""
    for _ in range(150):
        if focused(tab) == name:
            return
        tab.keyboard.press("Tab")
    raise AssertionError(f"{name} cannot be reached by keyboard")


def test_the_filter_works_by_keyboard(tab: Any) -> None:
    folded, total = shown(tab), tab.locator("article.claim").count()
    assert 25 < len(folded) < 45 and total > 100
    tab_to(tab, "words")
    tab.keyboard.type("lrn-delta")
    assert {"claim-lrn-delta-top1", "claim-lrn-delta-top5"} <= set(
        shown(tab)
    )  # the second one is folded away otherwise
    assert all("lrn-delta" in tab.locator(f"#{id_}").text_content() for id_ in shown(tab))
    assert tab.locator("form.filter output").text_content() == f"{len(shown(tab))} of {total} claims"
    tab_to(tab, "Show all")
    tab.keyboard.press("Enter")
    becomes(tab, f"document.querySelector('output').textContent.startsWith('{total} of')")
    assert shown(tab) == folded
    tab.locator("form.filter").evaluate("form => form.words.focus()")
    tab_to(tab, "verdict")
    tab.keyboard.type("cited")
    cited = shown(tab)
    assert 0 < len(cited) < 30
    assert all(tab.locator(f"#{id_}").get_attribute("data-verdict") == "cited" for id_ in cited)
    assert tab.locator("div.claims:visible").count() == 1  # headings of empty groups are hidden too


def test_the_address_keeps_filter_and_open_claims_and_back_undoes_them(browser: Any, tab: Any) -> None:
    def state() -> tuple[list[str], list[str]]:
        opened = "[...document.querySelectorAll('article.claim details[open]')].map(d => d.closest('article').id)"
        return shown(tab), tab.evaluate(opened)

    before = state()
    tab.locator("form.filter select[name=section]").select_option("3.4")
    pooling = shown(tab)
    assert "claim-pool-delta-top5" in pooling and len(pooling) < 10
    tab.locator("#claim-pool-delta-top1 summary").click()
    tab.wait_for_url("**open=pool-delta-top1*")
    assert state() == (pooling, ["claim-pool-delta-top1"])
    copy = browser.new_context(offline=True).new_page()
    copy.goto(tab.url)
    assert copy.locator("form.filter select[name=section]").input_value() == "3.4"
    assert copy.locator("#claim-pool-delta-top1 details[open]").count() == 1
    copy.context.close()
    tab.go_back()
    tab.locator("#claim-pool-delta-top1 details:not([open])").wait_for()
    assert state() == (pooling, [])
    tab.go_back()
    tab.wait_for_url(lambda url: "section" not in url)
    assert state()[0][: len(before[0])] == before[0] and state()[1] == []


def test_a_command_is_copied(tab: Any) -> None:
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    card = tab.locator("#claim-lrn-delta-top1")
    card.locator("summary").click()
    button = card.locator("button.copy").last
    button.click()
    button.get_by_text("Copied").wait_for()
    assert tab.evaluate("navigator.clipboard.readText()").startswith("python -m analysis explain lrn-delta-top1")


def test_a_count_leads_to_its_claims_and_a_link_to_a_hidden_one(tab: Any) -> None:
    link = tab.locator(".tiles a[data-verdict='paper miscounts']")
    count = int(link.locator("b").text_content())
    link.focus()
    tab.keyboard.press("Enter")
    assert len(shown(tab)) == count > 0
    assert tab.locator("form.filter select[name=verdict]").input_value() == "paper miscounts"
    tab.evaluate("location.hash = '#claim-abs-second'")
    becomes(tab, "document.querySelector('#claim-abs-second details').open")
    assert "claim-abs-second" in shown(tab) and len(shown(tab)) > 100


def test_a_link_to_a_folded_run_unfolds_it(tab: Any) -> None:
    run = tab.locator("#run-demo-no_lrn-1")
    assert not run.is_visible()
    tab.evaluate("location.hash = '#run-demo-no_lrn-1'")
    becomes(tab, "document.getElementById('run-demo-no_lrn-1').closest('details').open")
    assert run.is_visible()


def test_details_open_by_keyboard_without_scripts(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    tab = context.new_page()
    tab.goto(report.as_uri())
    card = tab.locator("#claim-lrn-delta-top1")
    hidden = card.get_by_text("python -m analysis explain lrn-delta-top1")
    assert not hidden.is_visible()
    card.locator("summary").focus()
    tab.keyboard.press("Enter")
    assert hidden.is_visible()
    assert 25 < tab.locator("article.claim:visible").count() < 45
    tab.locator("#claims details.rest > summary").focus()
    tab.keyboard.press("Enter")
    assert tab.locator("article.claim:visible").count() > 100
    assert tab.locator("button.copy:visible").count() == 0
    context.close()


@pytest.mark.parametrize(("size", "scheme"), [("laptop", "light"), ("laptop", "dark"), ("phone", "light")])
def test_axe_finds_no_violation_that_matters(browser: Any, report: Path, size: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, offline=True)
    tab = context.new_page()
    tab.goto(report.as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
    found = axe.Axe().run(tab, options={"resultTypes": ["violations"]}).response  # of the others, one node each
    assert len(found["passes"]) > 15  # it did look
    assert any(rule["id"] == "color-contrast" for rule in found["passes"])
    serious = [
        (rule["id"], rule["nodes"][0]["html"][:200])
        for rule in found["violations"]
        if rule["impact"] in ("moderate", "serious", "critical")
    ]
    assert serious == []
    context.close()


def test_on_paper_there_is_nothing_to_click(browser: Any, report: Path) -> None:
    context = browser.new_context(viewport={"width": 794, "height": 1123}, color_scheme="dark", offline=True)
    tab = context.new_page()
    tab.emulate_media(media="print", color_scheme="dark")
    tab.goto(report.as_uri())
    for gone in ("nav", "form.filter", "details.code"):
        assert not tab.locator(gone).first.is_visible(), gone
    assert tab.locator("#claim-lrn-delta-top1").get_by_text("explain lrn-delta-top1").first.is_visible()  # unfolded
    assert tab.evaluate("document.querySelector('#part-answer').offsetHeight") < 2 * 1123
    assert tab.locator("#claim-lrn-delta-top1").is_visible()
    colors = tab.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    assert colors == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
    assert tab.evaluate("document.querySelector('#claims').scrollWidth") <= 794
    context.close()
