"""The page: what others wrote stands there as text, and nothing on it asks for anything elsewhere."""

import html
import re
from html.parser import HTMLParser

import pytest

from fst_cli.data.text import cut, visible, without_credentials
from fst_cli.measure.history import load_arms
from fst_cli.report.page import facts, page
from fst_cli.report.samples import sampled_runs, spread

ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "nav", "a", "div", "span", "table",
    "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "details", "summary", "ins", "del", "input", "label",
    "section", "svg", "g", "path", "defs", "clippath", "use", "rect", "pattern",
}  # fmt: skip


class Seen(HTMLParser):
    """All tags and attributes, and the text."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = set(), [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in ("meta", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in ("meta", "input"):
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def source(report):
    return (report / "index.html").read_text()


@pytest.fixture(scope="module")
def parsed(source):
    seen = Seen()
    seen.feed(source)
    return seen


def test_the_page_is_well_formed_and_asks_for_nothing(source, parsed):
    assert parsed.open == [] and parsed.tags <= ALLOWED, parsed.tags - ALLOWED
    for name, value in parsed.attributes:
        assert not name.startswith("on") and name not in ("src", "srcset", "action", "srcdoc"), name
        assert name != "href" or value.startswith("#"), value
        assert "url(" not in (value or "").replace("url(#", ""), value
        assert name in ("http-equiv", "content") or "http" not in (value or ""), value
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in source
    assert "url(" not in re.search("<style>(.*?)</style>", source, re.DOTALL).group(1)


def test_hostile_text_is_shown_as_text(source, parsed):
    text = "".join(parsed.text)
    assert "<script>document.title='owned'</script>" in text and "<script" not in source
    assert "onerror=\"document.title='owned'\">" in text and "{{ 7*7 }} {% raw %}" in text
    assert "␛[2J␛]0;owned␇ [bold red]markup[/] ␀ $\\frac{1}{0}$" in text and "rl $x_1$ <b onclick=x>" in text
    assert "‹U+202E›gnol‹U+200B›" in text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e\u200b]", source)


def test_ids_are_used_once_and_every_reference_has_its_target(source):
    ids = re.findall(r'\bid="([^"]*)"', source)
    assert len(ids) == len(set(ids))
    assert {*re.findall(r'href="#([^"]*)"', source), *re.findall(r"url\(#([^)]*)\)", source)} <= set(ids)


def test_passwords_in_addresses_are_left_out(source):
    assert "pa55word" not in source and "https://…@host.example/v1" in html.unescape(source)
    assert without_credentials("http://a:b@c/d@e,http://f@g") == "http://…@c/d@e,http://…@g"
    assert without_credentials("http://a:p@ss@host x@y") == "http://…@host x@y"
    assert without_credentials("http://host/a?b=c@d http://host:80") == "http://host/a?b=c@d http://host:80"


def test_a_configuration_is_shown_once_for_seeds_that_differ_in_nothing_else(source, parsed):
    text = " ".join("".join(parsed.text).split())
    assert "math/fst, seed 0, 1 " in text and source.count("switch_every = 3") == 2


def test_arms_stand_with_their_final_success_and_costs(parsed):
    text = "|".join(parsed.text)
    assert "90.5 [84.1, 96.9]" in text and "0.1200 [0.1200, 0.1200]" in text
    assert re.search(r"mini\nfrom \S*/codeio/rl\b", text) and "2 cycles" in text


def test_prompts_are_compared_with_parent_and_seed(source):
    assert "<ins>" in source and "<del>" in source and "against its parent prompt2" in source
    assert source.count("against the seed prompt") == 6


def test_long_texts_are_cut_and_say_so(tmp_path, planted):
    run = planted(tmp_path / "run", fast=False, cycles=1, steps=1).write()
    path = run / "cycle-000" / "step-00" / "rollouts.jsonl"
    path.write_text(path.read_text().replace("sample 0 says", "x" * 30_000))
    text = page(facts(load_arms([run])), [])
    assert "x" * 20_000 in text and "x" * 20_001 not in text and "more characters)" in text
    assert cut("abc", 2) == "ab\n… (1 more characters)" and cut("abc", 3) == "abc"


def test_rollouts_are_sampled_from_first_middle_and_last_step_right_and_wrong_ones(tmp_path, planted):
    run = planted(tmp_path / "run", cycles=2, steps=3).write()
    path = run / "cycle-001" / "step-02" / "rollouts.jsonl"
    path.write_text(path.read_text().replace('"success":true', '"success":false'))
    (sampled,) = sampled_runs(load_arms([run]))
    assert [(step.cycle, step.step, step.update) for step in sampled.steps] == [(0, 0, 1), (0, 2, 3), (1, 2, 6)]
    right = [sum(shown.rollout.score.success for shown in step.rollouts) for step in sampled.steps]
    assert right == [4, 4, 0] and [len(step.rollouts) for step in sampled.steps] == [8, 8, 8]
    assert all(shown.messages for shown in sampled.steps[0].rollouts)
    assert spread(9, 3) == [0, 4, 8] and spread(2, 3) == [0, 1] and spread(0, 3) == []


def test_only_what_cannot_be_seen_is_replaced():
    assert visible("a\tb\nc é 漢 🙂") == "a\tb\nc é 漢 🙂" and visible("\r\x85\x7f\ud800") == "␍‹U+0085›␡‹U+D800›"
