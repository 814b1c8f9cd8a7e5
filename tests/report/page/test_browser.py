"""The page in a browser: sorting, filters, columns, runs, dark theme, accessibility; it fetches nothing.

Needs Chromium: `$SFT_CHROMIUM`, or one on the path.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sft.report.figures import figures_of
from sft.report.page import html
from sft.report.page.html import render_html

sys.path.insert(0, str(Path(__file__).parent.parent))
from grids import built_of, config, results_of, small_grid
from payloads import PAYLOADS, hostile_results

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
TOGETHER = 11  # payloads of a page: they are met one by one in test_html.py
SERIOUS = ("serious", "critical")
WIDE, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
SEEN = """() => {
  const elements = [...document.querySelectorAll('*')];
  const count = {};
  for (const one of elements) count[one.tagName] = (count[one.tagName] ?? 0) + 1;
  return {
    count,
    handlers: elements.flatMap((one) => one.getAttributeNames().filter((name) => name.startsWith('on'))),
    links: elements.map((one) => one.getAttribute('href') ?? one.getAttribute('src')).filter((link) => link),
    styles: elements.filter((one) => one.hasAttribute('style')).length,
  };
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing: dev_requirements.txt")
    path = os.environ.get("SFT_CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        except sync_api.Error as error:
            pytest.skip(f"no browser to open the page with (set SFT_CHROMIUM): {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven configurations, three seeds, one run that failed."""
    root = tmp_path_factory.mktemp("results")
    built = built_of(results_of(root, small_grid(), fails=(5,)))
    (root / "report.html").write_text(render_html(built.comparison, figures_of(built.comparison), built.details))
    return root / "report.html"


class Opened:
    """A page with its requests and error messages."""

    def __init__(self, context: Any, file: Path) -> None:
        self.file = file.as_uri()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        context.route("**/*", self._answer)
        self.page = context.new_page()
        self.page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))

    def _answer(self, route: Any) -> None:
        if route.request.url.split("#")[0] == self.file:
            route.continue_()
        else:
            self.requests.append(route.request.url)
            route.abort()

    def show(self, address: str = "") -> Any:
        """Load the page at an address."""
        self.page.goto("about:blank")
        self.page.goto(self.file + address)
        return self.page


@pytest.fixture
def opened(browser: Any, report: Path) -> Iterator[Opened]:
    """The report. At the end it must have made no request and logged no error."""
    context = browser.new_context(viewport=WIDE)
    found = Opened(context, report)
    yield found
    context.close()
    assert found.requests == []
    assert found.complaints == []


def column(page: Any, index: int) -> list[str]:
    """Return a column of the visible rows, without small text."""
    found = page.evaluate(
        """(index) => [...document.querySelectorAll('#comparison tbody:not([hidden]) > .row')].map(
             (row) => (row.cells[index].querySelector('strong') ?? row.cells[index]).firstChild.textContent.trim())""",
        index,
    )
    return [str(one) for one in found]


def test_it_sorts_and_the_address_remembers_it(opened: Opened) -> None:
    page = opened.show()
    head = page.locator("th[data-key='test.accuracy']")
    before = column(page, 4)
    page.click("th[data-key='test.accuracy'] button")
    assert head.get_attribute("aria-sort") == "descending"
    numbers = [float(text.split()[0]) for text in column(page, 4)]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 7
    page.focus("th[data-key='test.accuracy'] button")
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert [float(text.split()[0]) for text in column(page, 4)] == numbers[::-1]
    assert "sort=test.accuracy" in page.url
    page.reload()
    assert [float(text.split()[0]) for text in column(page, 4)] == numbers[::-1]
    page.go_back()
    page.go_back()
    assert column(page, 4) == before
    page.click("th[data-key='setting.lora.init_lora_weights'] button")
    assert column(page, 1) == ["pca"] * 3 + ["pissa"] * 3 + ["-"]
    page.click("th[data-key='setting.lora.init_lora_weights'] button")
    assert column(page, 1) == ["pissa"] * 3 + ["pca"] * 3 + ["-"]  # missing values are last in both orders


def test_it_filters(opened: Opened) -> None:
    page = opened.show()
    assert page.inner_text("#count") == "7 rows"
    page.fill("#filter", "PISSA 16")
    assert page.inner_text("#count") == "1 of 7 rows"
    page.fill("#filter", "")
    page.select_option("select[data-choice='setting.dataset.shots']", "=16")
    assert page.inner_text("#count") == "2 of 7 rows"
    shown = opened.show(f"#{page.url.partition('#')[2]}")
    assert shown.inner_text("#count") == "2 of 7 rows"
    page.click("#clear")
    assert page.inner_text("#count") == "7 rows"


def test_columns_can_be_hidden_and_shown(opened: Opened) -> None:
    page = opened.show()
    head = page.locator("th[data-key='test.ece']")
    assert head.is_visible()
    assert not page.is_visible("th[data-key='name']")
    assert not page.is_visible("th[data-key='test.mcc']")
    page.click(".columns summary")
    page.check("input[data-key='test.mcc']")
    assert page.is_visible("th[data-key='test.mcc']")
    page.uncheck("input[data-key='test.mcc']")
    page.uncheck("input[data-key='test.ece']")
    page.check("input[data-key='name']")
    assert not head.is_visible()
    assert page.is_visible("th[data-key='name']")
    page.go_back()
    assert not page.is_visible("th[data-key='name']")


def test_a_run_is_opened_and_left_by_keyboard(opened: Opened) -> None:
    page = opened.show("#sort=-test.accuracy")
    assert not page.is_visible("tr.seed a")
    page.focus("tbody:first-of-type .fold")
    page.keyboard.press("Enter")
    link = page.locator("tbody.open a").first
    name = link.evaluate("(one) => one.closest('tr').cells[2].textContent.trim()")
    link.focus()
    page.keyboard.press("Enter")
    assert page.inner_text("#run h1") == name
    assert page.evaluate("document.activeElement.id") == "run-title"
    assert page.title().startswith(name)
    assert not page.is_visible("#comparison")
    assert "64" in page.inner_text("#run table:has(code)")
    assert page.locator("mark.piece").text_content() == "[trained on: positive<|im_end|>]"
    page.wait_for_selector("#run .canvas svg")
    page.click("text=next →")
    headed = "([name, same]) => (document.querySelector('#run h1')?.textContent === name) === same"
    page.wait_for_function(headed, arg=[name, False])  # an address takes effect a moment later
    page.go_back()
    page.wait_for_function(headed, arg=[name, True])
    page.click("text=← All configurations")
    page.wait_for_selector("th[data-key='test.accuracy'][aria-sort='descending']")
    assert page.evaluate("document.activeElement.textContent") == link.text_content()
    assert page.title().startswith("Comparison")
    assert "No such run" in opened.show("#run=gone").inner_text("#run h1")


def test_figures_are_drawn_when_they_come_into_view_and_another_can_be_chosen(opened: Opened) -> None:
    page = opened.show()
    page.locator("#figures figure").first.scroll_into_view_if_needed()
    page.wait_for_selector("#figures .canvas svg")
    figure = page.locator("#figures figure").first
    title = figure.locator("h3").inner_text()
    figure.locator("select").select_option(index=1)
    assert figure.locator("h3").inner_text() != title
    assert figure.locator("h3").inner_text() in str(figure.locator(".canvas").get_attribute("aria-label"))
    links = page.locator(".vega-actions a").evaluate_all("(all) => all.map((one) => one.textContent)")
    assert set(links) == {"Save as SVG", "Save as PNG"}


def test_dark_is_a_button_that_is_remembered(opened: Opened) -> None:
    page = opened.show()
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    assert page.get_attribute("#theme", "aria-pressed") == "false"
    page.click("#theme")
    assert page.get_attribute("#theme", "aria-pressed") == "true"
    dark = page.evaluate(ground)
    assert dark != light
    assert opened.show().evaluate(ground) == dark


def test_without_scripts_and_on_paper_the_table_is_there(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False, viewport=WIDE)
    page = Opened(context, report).show()
    assert page.is_visible("text=seed 14 >> nth=0")
    assert page.is_visible("#comparison th >> nth=0")
    assert not page.is_visible("#tools")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert (
        page.locator("#comparison thead th:visible").count()
        == page.locator("#comparison thead th:not([data-hidden])").count()
    )
    context.close()


def test_a_phone_never_scrolls_sideways(browser: Any, report: Path) -> None:
    context = browser.new_context(viewport=PHONE)
    found = Opened(context, report)
    run = found.show().evaluate("document.querySelectorAll('script[data-run]')[4].dataset.run")
    for address in ("", f"#run={run}"):
        page = found.show(address)
        page.evaluate("document.querySelectorAll('.canvas').forEach((one) => one.scrollIntoView())")
        page.wait_for_selector(".canvas svg")
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    context.close()


def test_the_print_is_short(opened: Opened) -> None:
    page = opened.show()
    run = page.evaluate("document.querySelectorAll('script[data-run]')[4].dataset.run")
    page.evaluate("document.querySelector('.fold').click()")
    page.emulate_media(media="print")
    styles = "[...document.querySelectorAll('tr.seed > th')].map((one) => getComputedStyle(one).whiteSpace)"
    assert set(page.evaluate(styles)) == {"nowrap"}  # no "see/d 13"
    page = opened.show(f"#run={run}")
    assert page.inner_text("#run .subject") == "model · data: 60 test rows, 3 labels"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    shown = """[...document.querySelectorAll('#run summary')].filter((one) => one.checkVisibility()).map(
        (one) => one.textContent)"""
    assert page.evaluate(shown) == ["The whole configuration"]
    assert not page.is_visible("text=How it ran")
    assert page.is_visible("#run details pre")


def test_many_settings_leave_the_metrics_in_sight(browser: Any, tmp_path: Path) -> None:
    """On a phone all settings are in one cell. On a wide screen the table is wider than the text."""
    pairs = itertools.product((4, 16), (4, 8), (1e-3, 1e-2), ("pca", "pissa"))
    grid = {f"{n} r={r} lr={lr} {init}": config(n, r, init, lr, n) for n, r, lr, init in pairs}
    built = built_of(results_of(tmp_path, grid))
    (tmp_path / "report.html").write_text(render_html(built.comparison, (), built.details))
    for size, key in ((PHONE, "test.accuracy"), (WIDE, "n")):
        context = browser.new_context(viewport=size)
        page = Opened(context, tmp_path / "report.html").show()
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
        box, frame = (page.locator(one).bounding_box() for one in (f"th[data-key='{key}']", ".wide"))
        assert box["x"] + box["width"] <= frame["x"] + frame["width"]
        assert page.is_visible("#comparison .folded >> nth=0") == (size is PHONE)
        context.close()


def test_axe_finds_nothing_serious(browser: Any, report: Path) -> None:
    package = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is missing")
    script = (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    context = browser.new_context(viewport=WIDE, color_scheme="light", bypass_csp=True)  # for axe's own script
    found = Opened(context, report)
    page = found.show("#sort=-test.accuracy")
    page.evaluate(script)
    run = page.evaluate("document.querySelectorAll('script[data-run]')[4].dataset.run")
    for address in ("", f"run={run}"):
        page.evaluate("(address) => { location.hash = address; }", address)
        page.evaluate("document.querySelectorAll('.fold, summary').forEach((one) => one.click())")
        page.evaluate("document.querySelectorAll('.canvas').forEach((one) => one.scrollIntoView())")
        page.wait_for_selector(".canvas:visible svg")
        assert serious(page, "{}") == []
        page.click("#theme")
        assert serious(page, "{runOnly: ['color-contrast', 'link-in-text-block']}") == []  # all that is different
        page.click("#theme")
        assert page.evaluate("axe.run({runOnly: ['landmark-unique']}).then((found) => found.violations)") == []
    names = page.evaluate("[...document.querySelectorAll('.fold')].map((one) => one.textContent)")
    assert len(set(names)) == len(names)
    context.close()


def serious(page: Any, options: str) -> list[tuple[str, str]]:
    """Return the broken rules, each with the first element that breaks it."""
    violations = page.evaluate(f"axe.run({options}).then((found) => found.violations)")
    return [(one["id"], one["nodes"][0]["html"]) for one in violations if one["impact"] in SERIOUS]


def test_hostile_text_makes_no_element_link_or_handler(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "figure_bundle", str)  # thirty pages, without the script that draws
    context = browser.new_context(viewport=WIDE)
    opened = Opened(context, tmp_path)
    tame = seen(opened, tmp_path / "tame", "ordinary")
    payloads = list(PAYLOADS.values())
    for start in range(0, len(payloads), TOGETHER):
        found = seen(opened, tmp_path / str(start), " ".join(payloads[start : start + TOGETHER]))
        assert found == tame, payloads[start : start + TOGETHER]
        assert (opened.requests, opened.complaints) == ([], [])
    context.close()


def test_hostile_text_in_figures_stays_text(browser: Any, tmp_path: Path) -> None:
    context = browser.new_context(viewport=WIDE)
    opened = Opened(context, tmp_path)
    payload = " ".join(PAYLOADS[name] for name in ("end of a script", "handler", "template", "image", "script"))
    for one in seen(opened, tmp_path, payload, drawn=True):
        assert one["count"]["svg"]
        assert not one["handlers"]
        assert not {"IMG", "IFRAME", "image", "a"} & one["count"].keys()
    assert (opened.requests, opened.complaints) == ([], [])
    context.close()


def seen(opened: Opened, root: Path, payload: str, drawn: bool = False) -> list[dict[str, Any]]:
    """Return elements, handlers and links of the first page and of a run's page."""
    built = built_of(hostile_results(root, payload))
    file = root / "report.html"
    text = render_html(built.comparison, figures_of(built.comparison), built.details)
    file.write_text(text, encoding="utf-8")
    opened.file = file.as_uri()
    opened.page.goto(opened.file)
    found = []
    for address in ("", f"run={built.comparison.runs[0].id}"):
        opened.page.evaluate("(address) => { location.hash = address; }", address)
        opened.page.wait_for_selector("#run h1" if address else "#tools")
        if drawn:
            opened.page.evaluate("document.querySelectorAll('.canvas').forEach((one) => one.scrollIntoView())")
            opened.page.wait_for_selector(".canvas:visible svg")
        one = opened.page.evaluate(SEEN)
        links = one.pop("links")
        found.append({**one, "inside": sum(link.startswith("#") for link in links), "links": len(links)})
    return found
