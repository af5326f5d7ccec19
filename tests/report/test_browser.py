"""The page in a real browser, Debian's Chromium, with hostile rollouts on it."""

import re
import shutil

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no Chromium here; apt-get install chromium chromium-driver"
)
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1100,1400",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser(report, tmp_path_factory):
    """The page, open."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        driver.get((report / "index.html").as_uri())
        yield driver
    finally:
        driver.quit()


def find(browser, selector):
    return browser.find_elements("css selector", selector)


def test_nothing_hostile_runs_and_nothing_is_fetched(browser):
    assert browser.title.startswith("fst report: ")
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert browser.execute_script("return document.querySelectorAll('script, img, iframe, object').length") == 0


def test_every_figure_has_a_size_and_its_text_is_within_it(browser):
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('figure svg')].map(svg => {"
        "const outer = svg.getBoundingClientRect(), inner = svg.querySelector('g').getBoundingClientRect();"
        "return [outer.width, outer.height, inner.left - outer.left, outer.right - inner.right,"
        "inner.top - outer.top, outer.bottom - inner.bottom]})"
    )
    assert len(boxes) == 19
    for width, height, *margins in boxes:
        assert width > 300 and height > 80 and min(margins) > -1.5, (width, height, margins)


def test_a_rollout_opens_on_a_click_and_shows_its_whole_text(browser):
    place = "section.sample:nth-of-type(2) details.rollout"
    rollout = next(found for found in find(browser, "details.rollout") if "p1" in found.text)
    completion = rollout.find_element("css selector", ".completion")
    assert not completion.is_displayed(), place
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", rollout)
    rollout.find_element("css selector", "summary").click()
    assert completion.is_displayed() and re.match(r"sample \d+ says \d+", completion.text)
    whole = [found.get_attribute("textContent") for found in find(browser, ".completion")]
    assert any(text.endswith("<script>document.title='owned'</script>") for text in whole)
    assert any("␛[2J␛]0;owned␇ [bold red]markup[/] ␀ $\\frac{1}{0}$" in text for text in whole)
    assert browser.title.startswith("fst report: ")


@pytest.mark.parametrize(("choice", "right", "wrong"), [("only-right", 1, 0), ("only-wrong", 0, 1), ("every", 1, 1)])
def test_the_filter_shows_right_or_wrong_rollouts(browser, choice, right, wrong):
    label = find(browser, f"label[for={choice}]")[0]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", label)
    label.click()
    count = "return [...document.querySelectorAll(arguments[0])].filter(one => one.getClientRects().length).length"
    shown = [browser.execute_script(count, f"details.rollout.{kind}") for kind in ("right", "wrong")]
    total = [len(find(browser, f"details.rollout.{kind}")) for kind in ("right", "wrong")]
    assert min(total) > 20 and shown == [total[0] * right, total[1] * wrong]


@pytest.mark.parametrize("width", [400, 1100])
def test_the_page_never_scrolls_sideways(browser, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
    widths = browser.execute_script("return [window.innerWidth, document.documentElement.scrollWidth]")
    assert widths[0] == width and widths[1] <= width
