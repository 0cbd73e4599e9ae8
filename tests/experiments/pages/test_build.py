"""The page is one well-formed, offline, deterministic document, whatever is put into it."""

import functools
import itertools
import math
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.pages import build, figures, methods
from experiments.pages.report import Report
from tests.experiments.pages import samples

COMPARED = functools.partial(methods.compared, "auc", tuning=[0, 1, 2], reporting=[200, 201])
VOID = {"meta", "link", "br", "hr", "img", "input"}
HOSTILE = "</style></svg><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7*7 }}$x^2$\x00\ud800 注意"


class Page(HTMLParser):
  """Reads a page: the nesting of its elements, ids, links, visible text."""

  def __init__(self, text):
    super().__init__(convert_charrefs=True)
    self.open, self.tags, self.ids, self.links, self.sources, self.text = [], [], [], [], [], []
    self.feed(text)
    self.close()
    assert not self.open, f"never closed: {self.open}"

  def handle_starttag(self, tag, attrs):
    self.note(tag, attrs)
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.note(tag, attrs)

  def handle_endtag(self, tag):
    assert self.open, f"</{tag}> closes nothing"
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open and self.open[-1] != "style":
      self.text.append(data)

  def note(self, tag, attrs):
    self.tags.append((tag, tuple(sorted(name for name, _ in attrs))))
    for name, value in attrs:
      if name == "id":
        self.ids.append(value)
      elif name in ("href", "xlink:href"):
        self.links.append(value)
      elif name in ("src", "srcset", "data", "action", "poster"):
        self.sources.append(value)

  @property
  def words(self):
    return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def whole():
  return build.html(samples.report())


def test_page_is_well_formed_and_its_links_lead_somewhere(whole):
  page = Page(whole)
  assert len(page.ids) == len(set(page.ids))
  assert page.links
  own = [link for link in page.links if not link.startswith("data:text/csv;")]
  assert {link[1:] for link in own} <= set(page.ids)
  assert all(link.startswith("#") for link in own)
  assert len(own) < len(page.links)


def test_page_loads_nothing(whole):
  page = Page(whole)
  assert not page.sources
  assert not re.search(r"https?:|@import|url\(|<script|<link|<iframe", whole)


def test_page_has_headings_in_order_and_named_pictures(whole):
  levels = [int(tag[1]) for tag, _ in Page(whole).tags if re.fullmatch(r"h\d", tag)]
  assert levels[0] == 1
  assert levels.count(1) == 1
  assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
  pictures = re.findall(r"<svg [^>]*>", whole)
  assert pictures
  assert all('aria-label="' in picture or 'aria-hidden="true"' in picture for picture in pictures)


def test_same_report_same_bytes(whole):
  assert build.html(samples.report()) == whole


def test_every_verdict_is_written_out_and_counted():
  verdicts = ["reproduced", "reproduced", "conditional", "refuted", "inconclusive", "definition", "untested"]
  rows = [samples.row(f"HEAD-{i}", verdict) for i, verdict in enumerate(verdicts)]
  text = build.html(Report("x", rows=rows))
  counts = dict(re.findall(r"<li><strong>(\d+)</strong>\s*<span class=\"chip (\w+)\"", text))
  found = {word: int(count) for count, word in re.findall(r"<strong>(\d+)</strong>\s*<span class=\"chip (\w+)\"", text)}
  assert counts
  assert found == {word: verdicts.count(word) for word in verdicts}
  assert sum(found.values()) == len(rows)


def test_untested_claims_and_lost_trials_are_listed(whole):
  words = Page(whole).words
  assert "2 claims have no verdict here" in words
  assert "not finite at step 3" in words


def test_arms_stand_for_trials_when_none_are_given():
  assert "1 diverged" in Page(build.html(samples.report(outcomes=[]))).words


def test_contradicting_claims_stand_side_by_side():
  for pairs in ([("HEAD-1", "HEAD-2", "Heads")], []):  # named, or found in the claims themselves
    text = build.html(samples.report(contradictions=pairs))
    assert text.count('class="side"') == 2


def test_literature_from_memory_says_so():
  published = [
    {"value": "25.8", "unit": "BLEU", "source": "Somebody 2017", "checked": checked} for checked in (False, True)
  ]
  words = Page(build.html(Report("x", [samples.row()], [samples.claim(literature=published)]))).words
  assert words.count("25.8 BLEU: Somebody 2017") == 4  # in the table and in the details
  assert words.count("from memory") == 2


def test_stale_and_conditional_rows_are_marked():
  tests = [samples.line_of(cell="wide"), samples.line_of(cell="narrow", passed=False, effect=-0.2, ci=(-0.3, -0.1))]
  row = samples.row(verdict="conditional", condition="width: holds for wide, fails for narrow", stale=True, tests=tests)
  words = Page(build.html(Report("x", [row]))).words
  assert "stale" in words
  assert "width: holds for wide, fails for narrow" in words
  assert "0.500 [0.400, 0.600]" in words
  assert "−0.200 [−0.300, −0.100]" in words


@pytest.mark.parametrize(
  "given",
  [
    Report("nothing"),
    Report("no studies", [samples.row()], [samples.claim()]),
    Report("no claims", [samples.row()]),
    Report("only untested", [samples.row(verdict="untested")], [samples.claim()]),
    Report("one arm", studies=[samples.study(arms=[samples.arm(x=None)])]),
    Report("one x", studies=[samples.study(arms=[samples.arm(values=(0.5,))])]),
    Report("no arm", studies=[samples.study(arms=[])]),
    Report("all lost", studies=[samples.study(arms=[samples.arm(values=(math.nan, math.inf), diverged=2)])]),
    Report("compare", studies=[samples.study()], comparisons=[samples.comparison()]),
    Report("unknown verdict", [samples.row(verdict="new")]),
    Report("bare row", [{"id": "HEAD-1"}]),
  ],
  ids=lambda given: given.title,
)
def test_page_stands_without_its_parts(given):
  assert given.title in Page(build.html(given)).words


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf", None, math.nan])
def test_page_survives_numbers_that_are_none(bad):
  tests = [samples.line_of(effect=bad, ci=(bad, bad)), {**samples.line_of(), "p": None, "alpha": None, "ci": None}]
  arms = [{"name": "a", "lr": None, "n": 12, "mean": bad, "ci": [bad, bad], "diverged": 12, "stalled": 0}]
  arm = samples.arm(values=(0.5, bad, 0.7), diverged=1)
  report = samples.report(rows=[samples.row(tests=tests, arms=arms)], studies=[samples.study(arms=[arm])])
  words = Page(build.html(report)).words
  assert "None" not in words
  assert ("–" if bad is None else str(bad).strip("-")) in words  # what is not finite is told as it is


def hostile_report(text):
  """The report with `text` wherever a user's string can go; a benign text gives the same elements."""
  row = samples.row(reason=text, condition=text, tests=[samples.line_of(name=text, problem=text)], device=text)
  arms = [samples.arm(text, 1.0, text), samples.arm(text, 2.0, "other"), samples.arm(text, 3.0, "other")]
  claim = samples.claim(statement=text, place=text, measure=text, note=text)
  claim["literature"] = [{"value": text, "unit": text, "source": text}]
  return samples.report(
    title=text,
    rows=[{**row, "arms": [{"name": text, "mean": 0.1, "ci": [0, 1], "n": 3, "lr": 0.1}]}],
    claims=[claim, samples.claim("HEAD-2", statement=text)],
    studies=[samples.study(arms=arms, name=text)],
    contradictions=[("HEAD-1", "HEAD-2", text)],
    meta={"command": text, "device": text, "device_name": text, "versions": {text: text}, "more": text},
    comparisons=[],
    outcomes=[],
  )


def test_hostile_text_adds_no_element():
  found, benign = (Page(build.html(hostile_report(text))) for text in (HOSTILE, "harmless"))
  assert found.tags == benign.tags
  assert "alert(1)" in found.words
  assert "{{ 7*7 }}" in found.words


@settings(max_examples=25)
@given(st.text(st.characters(codec="utf-8"), min_size=1).map(lambda text: f"a{text}z"))
def test_any_text_adds_no_element(text):
  without = {"studies": [], "claims": [samples.claim(statement=text)], "contradictions": [], "outcomes": []}
  found = Page(
    build.html(samples.report(title=text, rows=[samples.row(reason=text)], meta={"command": text}, **without))
  )
  benign = {**without, "claims": [samples.claim(statement="b")]}
  assert (
    found.tags
    == Page(build.html(samples.report(title="b", rows=[samples.row(reason="b")], meta={"command": "b"}, **benign))).tags
  )


def test_many_studies_fold_and_stay_small():
  values = [0.5 + i / 100 for i in range(12)]
  long = [[(step, y) for step in range(0, 3000, 20)] for y in values]
  arms = [samples.arm(f"heads={2**i}", 2.0**i, values=values) for i in range(6)]
  arms = [type(arm)(**{**vars(arm), "curves": long}) for arm in arms]
  text = build.html(samples.report(studies=[samples.study(f"s{i}", arms) for i in range(7)]))
  assert text.count('<details class="study">') == 7
  assert len(text) < 7 * 40_000 + 40_000  # 50 such studies stay below 2 MB


@pytest.mark.parametrize(
  ("methods_of", "said", "unsaid"),
  [
    (methods.swept([1000, 1001, 1002], ["validation"], [("t", 3)]), ["nothing is tuned", "1000 to 1002"], "same grid"),
    (methods.swept([1000], ["validation"], [("none", 1)]), ["there are no intervals"], "Student"),
    (COMPARED(rates=[1e-2], used=[("sign-flip", 12)]), ["one learning rate given, 0.01", "exact sign-flip"], "tuning"),
    (
      COMPARED(rates=[1e-3, 1e-2], used=[("t", 2)]),
      ["0.001, 0.01, on seeds 0 to 2", "as 2 seeds are too few"],
      "exact sign",
    ),
    (methods.assayed([samples.row()]), ["written down before", "exact sign-flip"], "rule T"),
    (methods.assayed([samples.row(tests=[samples.line_of(rule="T")])]), ["Student's t (rule T): HEAD-1"], "tuned over"),
  ],
)
def test_methods_say_what_was_done(methods_of, said, unsaid):
  words = Page(build.html(Report("x", methods=methods_of))).words
  for text in said:
    assert text in words
  assert unsaid not in words


def test_intervals_of_a_share_are_drawn_inside_its_range():
  arm = samples.arm(values=(0.9, 1.0))
  inside = samples.study(arms=[arm], within=(0.0, 1.0), curves_within=(0.0, 1.0))
  assert figures.interval(arm.values)[1] > 1
  assert figures.interval(arm.values, inside.within)[1] == 1.0
  words = Page(build.html(Report("x", studies=[inside]))).words
  assert "1.000]" in words or ", 1]" in words
  assert "within [0, 1], as 2 seeds are too few" in words
  curve = [[(0, 0.2), (10, 1.0)], [(0, 0.3), (10, 0.9)]]
  assert figures._mean_curve(curve)[-1][3] > 1
  assert all(0 <= low <= high <= 1 for _, _, low, high in figures._mean_curve(curve, (0.0, 1.0)))


def test_a_claim_with_rows_of_several_tiers_counts_once_by_the_largest():
  rows = [samples.row("HEAD-1", "inconclusive", tier="quick"), samples.row("HEAD-1", "reproduced", tier="small")]
  counts = re.findall(r"<strong>(\d+)</strong>\s*<span class=\"chip (\w+)\"", build.html(Report("x", rows=rows)))
  assert [(count, word) for count, word in counts if count != "0"] == [("1", "reproduced")]


def test_calibration_is_a_paragraph_of_the_methods_and_no_fact_of_the_head():
  words = Page(build.html(Report("x", methods=["How."], meta={"calibration": "The level is kept."}))).words
  assert words.count("The level is kept.") == 1
  assert words.index("How.") < words.index("Calibration. The level is kept.")


def test_the_method_of_several_measures_is_said_once():
  said = methods.intervals([("t", 2), ("t within [0, 1]", 2), ("t within [0, inf]", 2), ("none", 1)])
  assert said == "Student's t within each measure's range, as 2 seeds are too few for the exact test (6)"
  assert methods.intervals([("t within [0, 1]", 2)]).startswith("Student's t within [0, 1], as 2 seeds")
