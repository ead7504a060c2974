"""The report in a real browser: it asks for nothing, runs nothing but its own, and can be worked with in every way."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from pyarrow import parquet

from detector.core.rule import Rule
from detector.logs.parquet import to_table
from replay import output
from replay.run import run
from tests.browser import Opened, browser, opened
from tests.kinds import KIND, T0, Fact, Kind, batch

__all__ = ["browser"]

HOSTILE = (
    "<script>window.pwned = 1</script>",
    "</script></title></style><img src=x onerror=pwned=1>",
    "\"'><svg onload=pwned=1>",
    "<!--<script>",
    "javascript:pwned=1//",
    "{{ 7 * 7 }}{% raw %}${7*7}",
    "\u202egpj.exe\u2066\u200b\x00\x1b[31m\u2028end",
    "&lt;b&gt;&#x3c;",
    "a" * 3000,
    "é漢字𝒳 שלום",
)
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""Characters that hide or turn round what is read."""


def rule(kind: str, name: str, severity: str, **fields: object) -> Rule:
    """A rule of the name and severity, else as the kind's example."""
    made = Kind(KIND[kind].fields | fields, []).rule(kind)
    return made.model_copy(update={"id": name, "severity": severity, "title": f"What {name} finds"})


RULES = [
    rule("threshold", "fast", "high"),
    rule("threshold", "by-role", "medium", group_by=("role",), threshold=5),
    rule("match", "control", "critical"),
    rule("sequence", "steps", "low"),
]


def written(
    folder: Path, facts: list[Fact], rules: list[Rule] = RULES, agents: tuple[str, ...] = ("aws-cli/2",)
) -> Path:
    """The report of a replay over these records; user agents in turn."""
    rows = [fact.row()._replace(user_agent=agents[n % len(agents)]) for n, fact in enumerate(sorted(facts))]
    folder.mkdir()
    parquet.write_table(to_table(batch(rows)), folder / "a.parquet")
    result = run([str(folder / "a.parquet")], rules)
    assert result.failures == {}
    output.write(result, folder, report=True)
    return folder / "report.html"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of five people at different times of a day, found by four rules."""
    facts = [
        Fact(T0 + who * 7200 + n * 9, f"p{who}", f"R{who % 2}", key=f"raw/{n}") for who in range(5) for n in range(30)
    ]
    return written(tmp_path_factory.mktemp("r") / "plain", facts + KIND["match"].facts + KIND["sequence"].facts)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of sessions, roles, buckets, keys and user agents that would all rather be something else."""
    facts = [
        Fact(T0 + n * 500 + k, f"{n}{text}", f"R{text}", bucket=text[:60], key=f"raw/{text}/{k}")
        for n, text in enumerate(HOSTILE)
        for k in range(8)
    ]
    rules = [RULES[0].model_copy(update={"title": f"What {HOSTILE[0]} finds"}), *RULES[1:]]
    return written(tmp_path_factory.mktemp("r") / "hostile", facts, rules, HOSTILE)


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Opened]:
    """The report, opened; it may not complain while a test works with it."""
    with opened(browser, report) as it:
        yield it
        assert it.said == []


def found(report: Path) -> list[dict[str, object]]:
    """The findings beside a report."""
    return [json.loads(line) for line in (report.parent / "findings.jsonl").read_text().splitlines()]


def shown(it: Opened) -> list[str]:
    """Ids of the findings that are shown, in order."""
    return it.read("[...document.querySelectorAll('article')].filter(a => a.checkVisibility()).map(a => a.id.slice(2))")


def time_shown(it: Opened) -> list[str]:
    """First and last second that the timeline shows."""
    return re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", it.page.locator("#range").inner_text())


def span(it: Opened) -> float:
    """Seconds that the timeline shows."""
    first, last = it.read("(ends) => ends.map(end => Date.parse(end.replace(' ', 'T') + 'Z') / 1000)", time_shown(it))
    return last - first


@pytest.mark.parametrize("which", ["report", "hostile"])
def test_it_asks_for_nothing_and_complains_of_nothing(which, browser, request):
    file = request.getfixturevalue(which)
    with opened(browser, file) as it:
        assert it.requests == [file.as_uri()]
        assert it.said == []
        assert sorted(shown(it)) == sorted(one["finding_id"] for one in found(file))


def test_its_policy_lets_nothing_else_run_load_or_be_written(browser, report):
    """Even if some text of a log had become markup."""
    with opened(browser, report) as it:
        it.read("""() => {
            const one = document.createElement('img');
            one.src = 'https://example.com/x';
            document.body.append(one);
            document.body.setAttribute('style', 'color: red');
            try { document.body.setAttribute('onclick', 'window.pwned = 1') } catch { }
            document.body.click();
            const script = document.createElement('script');
            script.append('window.pwned = 1');
            try { document.body.append(script) } catch { }
            fetch('https://example.com/').catch(() => {});
        }""")
        assert it.read("() => { try { document.body.innerHTML = 'x' } catch (e) { return e.name } }") == "TypeError"
        assert it.read("getComputedStyle(document.body).color") != "rgb(255, 0, 0)"
        assert it.read("window.pwned") is None
        refused = {one.split()[1] for one in it.said if one.startswith("refused")}
        assert {"img-src", "connect-src", "style-src-attr", "require-trusted-types-for"} <= refused


def test_findings_are_chosen_by_severity_rule_principal_and_text(page, report):
    every = found(report)

    def ids(keep):
        return sorted(one["finding_id"] for one in every if keep(one))

    page.page.get_by_role("checkbox", name="critical").uncheck()
    assert sorted(shown(page)) == ids(lambda f: f["severity"] != "critical")
    page.page.get_by_label("Rule", exact=True).select_option("fast")
    assert sorted(shown(page)) == ids(lambda f: f["rule_id"] == "fast")
    page.page.get_by_label("Text").fill("P3 what")
    [third] = ids(lambda f: f["rule_id"] == "fast" and "p3" in f["group"].get("session", ""))
    assert shown(page) == [third]
    assert page.page.locator("#count").inner_text() == f"1 of {len(every)} findings shown"
    assert page.page.locator("#lanes li").count() == 1
    page.page.get_by_label("Text").fill("nobody at all")
    assert shown(page) == []
    page.page.get_by_role("button", name="Show all").click()
    assert sorted(shown(page)) == ids(lambda f: True)
    page.page.get_by_label("Principal", exact=True).select_option("arn:aws:iam::111122223333:role/R1")
    assert sorted(shown(page)) == ids(lambda f: f["group"].get("role", "").endswith("/R1"))


def test_findings_come_in_the_order_asked_for_in_list_and_table(page, report):
    every = {one["finding_id"]: one for one in found(report)}
    severities = ["critical", "high", "medium", "low"]
    worst = [severities.index(every[one]["severity"]) for one in shown(page)]
    assert worst == sorted(worst)
    page.page.get_by_label("Order").select_option("earliest first")
    opened_at = [every[one]["opened_at"] for one in shown(page)]
    assert opened_at == sorted(opened_at)
    page.page.get_by_text("The same as a table").click()
    rows = page.page.locator("#rows tr")
    assert [link.split("#f-")[1] for link in rows.locator("a").evaluate_all("all => all.map(a => a.href)")] == shown(
        page
    )
    page.page.get_by_label("Order").select_option("latest first")
    first = every[shown(page)[0]]
    assert first["last_at"] == max(one["last_at"] for one in every.values())
    assert first["last_at"].replace("T", " ").rstrip("Z") in rows.first.inner_text()


def test_the_timeline_zooms_by_mouse(page):
    whole = time_shown(page)
    page.page.locator("#chart").scroll_into_view_if_needed()
    box = page.page.locator("#lanes svg").first.bounding_box()
    mouse = page.page.mouse
    x, y = box["x"] + box["width"] * 0.25, box["y"] + 5
    mouse.move(x, y)
    mouse.down()
    mouse.move(x + box["width"] * 0.5, y, steps=4)
    mouse.up()
    inner = time_shown(page)
    assert whole[0] < inner[0] < inner[1] < whole[1]
    before = span(page)
    page.page.keyboard.down("Control")
    mouse.wheel(0, -100)
    page.page.wait_for_function(
        "before => document.querySelector('#range').innerText !== before", arg=" to ".join(inner) + " UTC"
    )
    page.page.keyboard.up("Control")
    assert span(page) < before
    page.page.get_by_role("button", name="Whole period").click()
    assert time_shown(page) == whole


def test_the_timeline_zooms_by_keyboard_alone(page):
    """Reached by Tab, and left by it."""
    whole, keyboard = time_shown(page), page.page.keyboard
    page.page.locator("#clear").focus()
    for _ in range(20):
        keyboard.press("Tab")
        if page.read("document.activeElement.id") == "chart":
            break
    assert page.read("document.activeElement.id") == "chart"
    before = span(page)
    keyboard.press("+")
    assert span(page) == pytest.approx(before / 2, abs=2)
    zoomed = time_shown(page)
    keyboard.press("ArrowRight")
    assert time_shown(page)[0] > zoomed[0]
    keyboard.press("ArrowLeft")
    assert time_shown(page) == zoomed
    keyboard.press("-")
    keyboard.press("0")
    assert time_shown(page) == whole
    keyboard.press("Tab")
    assert page.read("document.activeElement.tagName") in {"SUMMARY", "BUTTON"}


def test_a_finding_has_an_address_that_shows_it_whatever_is_chosen(browser, report):
    one = found(report)[-1]["finding_id"]
    with opened(browser, report, part=f"#f-{one}") as it:
        assert it.read("document.activeElement.id") == f"f-{one}"
        assert it.read("id => document.getElementById(id).querySelector('details').open", f"f-{one}")
        it.page.get_by_label("Text").fill("nobody at all")
        it.read("location.hash = ''")
        it.read("id => location.hash = id", f"f-{one}")
        it.page.wait_for_function("id => document.activeElement.id === id", arg=f"f-{one}")
        assert one in shown(it)


def test_a_mark_in_the_timeline_leads_to_its_finding_and_back(page):
    link = page.page.locator("#lanes a").first
    link.click()
    goal = page.read("location.hash")
    page.page.wait_for_function("id => '#' + document.activeElement.id === id", arg=goal)
    before = span(page)
    page.page.locator(goal).get_by_role("button", name="Show in timeline").click()
    assert page.read("document.activeElement.id") == "chart"
    assert span(page) < before


def test_incidents_come_first_and_lead_to_their_findings(page, report):
    """As many as are written beside the page, in the same order, each with all of its findings."""
    written = [json.loads(line) for line in (report.parent / "incidents.jsonl").read_text().splitlines()]
    boxes = page.page.locator("section[aria-label^=Incident]")
    links = "all => all.map(one => [...one.querySelectorAll('a')].map(a => a.getAttribute('href').slice(3)))"
    assert boxes.evaluate_all(links) == [one["findings"] for one in written]
    assert page.page.locator("h1").inner_text().startswith(f"{len(written)} incident")


def test_a_curve_shows_the_crossing(page, report):
    """The path reaches above the line of the threshold, and the lanes draw the same path."""
    fast = next(one for one in found(report) if one["rule_id"] == "fast")["finding_id"]
    top, limit = page.read(
        """id => { const path = document.getElementById('c-' + id), svg = path.ownerSVGElement;
        const line = svg.parentElement.querySelector('.limit');
        return [path.getBBox().y, parseFloat(line.getAttribute('y1')) / 100 * svg.viewBox.baseVal.height] }""", fast,
    )  # fmt: skip
    assert 0 <= top <= limit
    page.page.locator(f"#f-{fast}").get_by_role("button", name="Show in timeline").click()
    box = page.page.locator(f"#lanes use[href='#c-{fast}']").bounding_box()
    assert box["width"] > 50
    assert box["height"] > 5


def test_hostile_texts_are_texts(browser, hostile):
    with opened(browser, hostile) as it:
        assert it.read("window.pwned") is None
        assert it.read("[...document.scripts].map(s => s.type)") == ["application/json", ""]
        assert it.page.locator("img, iframe, object, embed, link, base, form").count() == 0
        names = set(it.read("[...document.querySelectorAll('*')].flatMap(e => [...e.attributes]).map(a => a.name)"))
        assert not {name for name in names if name.startswith("on") or name == "src"}
        links = set(it.read("[...document.querySelectorAll('a')].map(a => a.getAttribute('href').replace(/-.*/, ''))"))
        assert links <= {
            "#f",
            "#main",
            "#timeline",
            "#findings",
            "#books",
            "#files",
            "#rules",
            "#coverage",
            "#incidents",
        }
        text = it.read("document.body.innerText")
        for one in (*HOSTILE[:6], HOSTILE[7], "\\u202egpj.exe\\u2066"):
            assert one in text
        assert not FORBIDDEN.search(it.page.content().replace("\n", ""))
        it.page.get_by_label("Text").fill("<script>window.pwned")
        assert shown(it)


def test_nothing_is_wider_than_a_telephone(browser, report, hostile):
    for file in (report, hostile):
        with opened(browser, file, viewport={"width": 390, "height": 844}) as it:
            assert it.read("document.documentElement.scrollWidth") == 390


CONTRAST = """(print) => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = (color) => [0.2126, 0.7152, 0.0722].reduce((sum, share, n) => sum + share * linear(color[n] / 255), 0);
  const behind = (one) => { for (; one; one = one.parentElement) {
    const style = getComputedStyle(one), color = rgb(style.backgroundColor);
    if ((color[3] ?? 1) > 0.99 && (!print || style.printColorAdjust === 'exact')) return color; }
    return [255, 255, 255] };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const one = node.parentElement;
    if (!node.data.trim() || !one.checkVisibility() || one.closest('script, option')) continue;
    const svg = one.closest('svg'), color = rgb(svg ? getComputedStyle(one).fill : getComputedStyle(one).color);
    const [a, b] = [light(color), light(behind(one))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) poor.push(node.data.trim().slice(0, 40));
  }
  return poor;
}"""


@pytest.mark.parametrize(("scheme", "media"), [("light", "screen"), ("dark", "screen"), ("dark", "print")])
def test_every_text_can_be_read(scheme, media, browser, report):
    """Contrast of 4.5:1 by the computed colours; on paper, which has no backgrounds, too."""
    with opened(browser, report, color_scheme=scheme) as it:
        it.page.get_by_text("The same as a table").click()
        it.page.emulate_media(media=media, color_scheme=scheme)
        dark = it.read("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        assert dark == (scheme == "dark" and media == "screen")
        assert it.read(CONTRAST, media == "print") == []


def test_on_paper_all_evidence_is_there_and_no_controls(browser, report):
    with opened(browser, report) as it:
        it.page.locator("article details").evaluate_all("all => all.forEach(one => one.open = false)")
        it.page.emulate_media(media="print")
        assert not it.page.get_by_label("Text").is_visible()
        assert it.page.locator("button:visible").count() == 0
        assert it.page.locator("article dt", has_text="sample keys").first.is_visible()
        assert it.page.pdf(format="A4").startswith(b"%PDF")
        assert it.read("document.querySelectorAll('article details[open]').length") == 0


def test_without_its_script_it_can_be_read(browser, report):
    with opened(browser, report, java_script_enabled=False) as it:
        every = found(report)
        assert it.page.locator("article").count() == len(every)
        assert not it.page.get_by_label("Text").is_visible()
        assert it.page.locator(".lane rect").first.is_visible()
        assert it.page.locator(".curve").count() > 0
        it.page.locator("article summary").first.click()
        assert it.page.locator("dt", has_text="sample keys").first.is_visible()


def test_it_is_one_page_to_a_screen_reader(browser, report):
    """Landmarks, headings in order, every control and drawing with a name, ids once, heads of tables."""
    with opened(browser, report) as it:
        tree = it.page.context.new_cdp_session(it.page).send("Accessibility.getFullAXTree")["nodes"]
        told = [
            (
                node["role"]["value"],
                node.get("name", {}).get("value", ""),
                {p["name"] for p in node.get("properties", ())},
            )
            for node in tree
            if not node["ignored"]
        ]
        roles = [role for role, *_ in told]
        for landmark in ("banner", "navigation", "main", "contentinfo"):
            assert roles.count(landmark) == 1, landmark
        for role, name, properties in told:
            if ("focusable" in properties and role not in {"RootWebArea", "main"}) or role in {
                "image",
                "region",
                "article",
                "group",
            }:
                assert name or (role == "group" and "focusable" not in properties), role
        levels = it.read("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
        ids = it.read("[...document.querySelectorAll('[id]')].map(e => e.id)")
        assert len(ids) == len(set(ids))
        assert it.page.locator("th:not([scope])").count() == 0
        assert it.read("document.documentElement.lang") == "en"
        assert {goal[1:] for goal in it.read("[...document.links].map(a => a.getAttribute('href'))")} <= set(ids)
        it.page.keyboard.press("Tab")
        assert it.read("document.activeElement.textContent") == "Skip to the content"
        assert it.read("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        it.page.keyboard.press("Enter")
        assert it.read("document.activeElement.id") == "main"


def test_a_thousand_findings_are_a_page_of_less_than_three_megabytes(browser, tmp_path):
    """And it is ready when it is loaded: every finding there, the timeline drawn, and the rest one press away."""
    facts = [
        Fact(T0 + who * 600 + n * 9, f"contractor-{who:05}", f"Role{who % 40}", address=f"198.51.{who % 250}.{n}",
             key=f"raw/contractor-{who:05}/batch-{n:03}/utt-{n:06}.wav")
        for who in range(1003)
        for n in range(20)
    ]  # fmt: skip
    file = written(tmp_path / "many", facts, RULES[:1])
    assert file.stat().st_size < 3_000_000
    with opened(browser, file) as it:
        assert it.read("'ready' in document.documentElement.dataset")
        assert it.said == []
        assert len(shown(it)) == 1000
        assert it.page.get_by_text("3 more in findings.jsonl").is_visible()
        few = it.page.locator("#lanes li").count()
        it.page.locator("#more").click()
        assert few < it.page.locator("#lanes li").count() == 1000
