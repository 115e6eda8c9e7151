"""The report opened in a real browser: its filters, its theme, the keyboard, a phone, and nothing in the console."""

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from ddselect.report.settings import ReportConfig
from tests.helpers.data import folder_index, write_folder
from tests.helpers.report import Run, with_classes, write_scores

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install -e '.[test]')")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no browser: install chromium")
CLASSES = 30
SHOWN_FIRST = 24


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 30 classes whose accuracies rise with their number."""
    root = tmp_path_factory.mktemp("report")
    run = with_classes(Run(root, folder_index(write_folder(root / "data"), root / "index").split("train")), CLASSES)
    run.per_class = {"diffusion": [float(i) for i in range(CLASSES)], "random_crop": [15.0] * CLASSES}
    prompts = [{"positive": f"a very_long_name_of_{name}" * 3, "reference": ""} for name in run.index.class_names]
    run.page(write_scores(run), ReportConfig(maps_per_class=2), prompts=prompts)
    return root / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: "sync_api.Browser", report: Path) -> Iterator["sync_api.Page"]:
    """The page on a desktop of the light kind; at the end nothing must have been complained of or asked for."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, color_scheme="light")
    tab, complaints, requests = context.new_page(), [], []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(report.as_uri())
    yield tab
    assert not complaints
    assert all(url.startswith(("data:", report.as_uri())) for url in requests)
    context.close()


def shown(page: "sync_api.Page") -> list[str]:
    return page.locator("article:visible h3").all_inner_texts()


def test_classes_are_searched_ordered_and_shown_by_and_by(page: "sync_api.Page") -> None:
    count = page.locator("#count")
    assert count.get_attribute("aria-live") == "polite"
    assert count.inner_text() == "24 of 30 classes shown, 6 more found"
    page.get_by_role("button", name="Show 6 more").press("Enter")
    assert count.inner_text() == "30 of 30 classes shown"
    assert page.evaluate("document.activeElement.id") == f"class-{SHOWN_FIRST}"  # reading goes on there
    page.get_by_label("Find a class").fill("CLASS 2")
    assert shown(page) == ["class 2", *(f"class {i}" for i in range(20, 30))]
    assert count.inner_text() == "11 of 30 classes shown"
    page.get_by_label("Order").select_option("best")
    assert shown(page)[:2] == ["class 29", "class 28"]
    page.get_by_label("Find a class").fill("nothing like it")
    assert count.inner_text() == "No class of 30 is found"
    page.get_by_role("button", name="Reset").click()
    page.get_by_label("Show").select_option("worst-10")
    page.get_by_label("Order").select_option("gained")
    assert shown(page) == [f"class {i}" for i in reversed(range(10))]
    page.get_by_label("Show").select_option("best-10")
    page.get_by_label("Order").select_option("name")
    assert shown(page) == [f"class {i}" for i in range(20, 30)]


def test_selections_are_hidden(page: "sync_api.Page") -> None:
    before = page.locator("img.distilled:visible").count()
    page.get_by_role("checkbox", name="random_crop").uncheck()
    assert page.locator("img.distilled:visible").count() == before / 2
    page.get_by_role("button", name="Reset").click()
    page.wait_for_function(f"document.querySelectorAll('[data-selection]:not([hidden])').length > {before}")


def test_a_link_finds_a_class_that_is_hidden(page: "sync_api.Page") -> None:
    page.get_by_label("Find a class").fill("class 3")
    page.get_by_role("list", name="Best").get_by_role("link", name="class 29").click()
    page.wait_for_function("document.activeElement.id === 'class-29'")
    assert page.locator("#class-29").is_visible()


def test_the_theme_is_switched_and_kept(page: "sync_api.Page") -> None:
    def colour() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    button, light = page.get_by_role("button", name="Dark"), colour()
    assert button.get_attribute("aria-pressed") == "false"
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert colour() == "rgb(20, 23, 27)" != light
    page.reload()
    assert colour() != light
    page.get_by_role("button", name="Dark").click()
    assert colour() == light
    page.emulate_media(color_scheme="dark")
    assert colour() == light  # what was chosen stays


def test_the_system_chooses_the_theme_first(browser: "sync_api.Browser", report: Path) -> None:
    with browser.new_context(color_scheme="dark") as context:
        page = context.new_page()
        page.goto(report.as_uri())
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
        assert page.get_by_role("button", name="Dark").get_attribute("aria-pressed") == "true"


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page: "sync_api.Page") -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0  # type: ignore[index]
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        name = page.evaluate("document.activeElement.name || document.activeElement.id || document.activeElement.hash")
        reached.append(name)
        assert style != "none", name
        if name == "selection":
            break
    wanted = ["#result", "#warnings", "#classes", "#training", "#time", "#repeat", "theme"]
    assert reached[:7] == wanted
    assert reached[-4:] == ["search", "subset", "order", "selection"]


def test_a_screen_reader_finds_its_way(page: "sync_api.Page") -> None:
    assert page.get_by_role("main").count() == page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("navigation", name="Sections").count() == 1
    regions = ["Result", "Warnings", "Classes", "Training", "Where the time went", "Repeat this run"]
    assert [page.get_by_role("region", name=name).count() for name in regions] == [1] * 6
    levels = [int(e.evaluate("e => e.tagName[1]")) for e in page.locator("h1, h2, h3").all()]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    nameless = "e => e.filter(x => !(x.getAttribute('alt') || x.getAttribute('aria-label') || x.labels?.length)).length"
    assert page.locator("img, [role=img], input, select").evaluate_all(nameless) == 0
    ids = page.locator("[id]").evaluate_all("e => e.map(x => x.id)")
    assert len(ids) == len(set(ids))


def test_a_phone_scrolls_in_one_direction_only(browser: "sync_api.Browser", report: Path, tmp_path: Path) -> None:
    with browser.new_context(viewport={"width": 360, "height": 780}) as context:
        page = context.new_page()
        page.goto(report.as_uri())
        page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        page.evaluate("scrollTo(50, 900)")
        assert page.evaluate("[scrollX, scrollY]") == [0, 900]
        page.screenshot(path=tmp_path / "phone.png")
    with Image.open(tmp_path / "phone.png") as picture:
        assert picture.size == (360, 780)
        assert len(picture.convert("RGB").getcolors(360 * 780) or []) > 20


def test_without_scripts_all_is_shown(browser: "sync_api.Browser", report: Path) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(report.as_uri())
        assert page.locator("article:visible").count() == CLASSES
        assert page.locator("button:visible, form:visible").count() == 0
