"""LEDGER.md, the README's excerpt and the terminal text say what the rows say, once, and stay what they are."""

import re

import pytest

from experiments.ledger import ledger
from experiments.pages import page
from model.errors import Refused
from tests.experiments.pages import samples


def rows():
  return [
    samples.row("POS-1", "refuted"),
    samples.row("HEAD-1"),
    samples.row("HEAD-1", "inconclusive", tier="quick"),
    samples.row("HEAD-2", "untested"),
  ]


def claims():
  return [samples.claim(name) for name in ("HEAD-1", "HEAD-2", "HEAD-3", "POS-1")]


def cells(line):
  return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_ledger_lists_every_row_and_every_claim():
  text = page.ledger_markdown(rows(), claims())
  assert text.startswith("<!-- Written by `assay ledger render`")
  assert "4 claims: 1 reproduced, 1 refuted, 2 untested." in text
  judged, waiting = text.split("## Untested")
  assert re.findall(r"\*\*([A-Z]+-\d+)\*\*", judged) == ["HEAD-1", "HEAD-1", "POS-1"]
  assert re.findall(r"\*\*([A-Z]+-\d+)\*\*", waiting) == ["HEAD-2", "HEAD-3"]
  assert re.findall(r"^## (\w+)", judged, re.M) == ["HEAD", "POS"]


def test_ledger_tables_have_equal_columns_and_the_page_is_stable():
  hostile = "a | b <img src=x> [c](http://d)\n# e `f` *g* \\"
  text = page.ledger_markdown([samples.row(condition=hostile)], [samples.claim(statement=hostile)])
  assert text == page.ledger_markdown([samples.row(condition=hostile)], [samples.claim(statement=hostile)])
  for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
    assert len({len(cells(line)) for line in block.splitlines()}) == 1
  assert "<img" not in text
  assert "](http" not in text


def test_ledger_ignores_what_varies_between_honest_reruns():
  other = [{**row, "run": {"date": "2030-01-01", "seconds": 9}} for row in rows()]
  assert page.ledger_markdown(other, claims()) == page.ledger_markdown(rows(), claims())


def test_ledger_without_rows_or_claims():
  assert "None." in page.ledger_markdown([], [])
  assert "HEAD-1" in page.ledger_markdown([samples.row()], [])


def test_ledger_says_how_many_published_numbers_were_looked_up():
  entry = {"value": "1", "unit": "", "source": "A 2020", "checked": True}
  cited = [
    samples.claim("HEAD-1", literature=[entry]),
    samples.claim("HEAD-2", literature=[entry | {"checked": False}] * 2),
  ]
  assert "looked them up: 2 of 3." in page.ledger_markdown(rows(), cited)
  assert "looked them up." in page.ledger_markdown(rows(), claims())


def again(first, answer, verdict):
  return {
    "seeds": {"tuning": [first], "reporting": [first + 3]},
    "answer": answer,
    "verdict": verdict,
    "condition": None,
  }


def test_ledger_tells_what_was_judged_again_by_the_seeds_it_began_from():
  agreed = samples.row("HEAD-1", replications=[again(500, "agrees", "reproduced"), again(700, "agrees", "reproduced")])
  waited = samples.row("HEAD-2", replications=[again(500, "open", "inconclusive")])
  never = samples.row("POS-1", "inconclusive", replications=[again(700, "agrees", "inconclusive")])
  text = page.ledger_markdown([agreed, waited, never], claims())
  assert "seeds, 2 rows from seed 500 on: 1 agrees, 1 open.\n" in text
  assert "seeds, 2 rows from seed 700 on: 2 agrees; 1 of them inconclusive both times.\n" in text
  run_again = {**waited, "verdict": "inconclusive"}  # at a later look; the answer that was recorded stays
  text = page.ledger_markdown([agreed, run_again], claims())
  assert "1 agrees, 1 open, held against the rows as they are now 2 agrees; 1 of them inconclusive" in text
  assert "udged again" not in page.ledger_markdown(rows(), claims())


def test_ledger_names_the_rows_that_had_no_looks():
  once, looked = samples.row("HEAD-1", look=None), samples.row("POS-1")
  text = page.ledger_markdown([once, looked, samples.row("HEAD-2", trials=[], look=None)], claims())
  assert "up to three times: HEAD-1 (small).\n" in text
  assert "up to three times" not in page.ledger_markdown([looked], claims())


def test_excerpt_counts_each_claim_once():
  text = page.readme_excerpt(rows(), claims())
  assert text.startswith("**2 of 4 claims have a verdict**: 1 reproduced, 1 refuted, 2 untested.")
  assert [cells(line)[0] for line in text.splitlines() if line.startswith("| ")][2:] == ["HEAD-1", "POS-1"]
  assert "0.500 [0.400, 0.600], needed > 0.1" in text


def test_excerpt_shows_the_headlines_it_is_given():
  text = page.readme_excerpt(rows(), claims(), headlines=("POS-1", "HEAD-9"))
  assert "| POS-1 |" in text
  assert "| HEAD-1 |" not in text


def test_excerpt_replaces_itself():
  begin, end = ledger.MARKS
  readme = f"# Title\n\n{begin}\nold\n{end}\n\nafter\n"
  once = page.replace_excerpt(readme, page.readme_excerpt(rows(), claims()))
  assert "old" not in once
  assert once.startswith("# Title\n\n")
  assert once.endswith(f"{end}\n\nafter\n")
  assert page.replace_excerpt(once, page.readme_excerpt(rows(), claims())) == once


@pytest.mark.parametrize("text", ["", ledger.MARKS[0], ledger.MARKS[0] * 2 + ledger.MARKS[1]])
def test_excerpt_refuses_a_readme_without_its_place(text):
  with pytest.raises(Refused, match="no single place"):
    page.replace_excerpt(text, "x")


def test_a_row_is_a_line_that_names_its_measure():
  claim = samples.claim(
    metric="auc", tested={"a > b": {"measure": "accuracy at the end", "what": "a > b", "needed": ""}}
  )
  (line,) = page.lines(samples.row(), claim)
  assert line == "✓ reproduced    HEAD-1     accuracy at the end (a > b): 0.500 [0.400, 0.600], needed > 0.1"
  (bare,) = page.lines(samples.row(reason="[red]not markup[/red]", stale=True))
  assert "reproduced (stale)" in bare
  assert "a > b: 0.500" in bare
  assert "[red]" not in bare  # the reason is left to explain
  (waiting,) = page.lines(samples.row(verdict="untested", reason="it needs a trial " * 20))
  assert waiting.startswith("○ untested")
  assert len(waiting) < 160


def test_a_conditional_row_has_a_line_for_each_cell():
  tests = [samples.line_of(cell="wide"), samples.line_of(cell="wide"), samples.line_of(cell="narrow", effect=-0.2)]
  found = page.lines(samples.row(verdict="conditional", condition="width: holds for wide", tests=tests))
  assert len(found) == 2
  assert "wide: a > b: 0.500" in found[0]
  assert "narrow: a > b: -0.200" in found[1]
  assert found[0].index("wide:") == found[1].index("narrow:")
  assert page.lines(samples.row(verdict="conditional", condition="width: x", tests=[]))[0].endswith("width: x")


def test_rows_told_on_a_terminal_are_not_told_again():
  given = [samples.row("HEAD-1"), samples.row("HEAD-2", "refuted", stale=True), samples.row("POS-1", "untested")]
  assert page.worth_telling(given, told=False) == given
  assert [row["id"] for row in page.worth_telling(given, told=True)] == ["HEAD-2", "POS-1"]
  assert page.summary(given).startswith("3 claims: 1 reproduced, 1 refuted, 1 untested; ")


@pytest.mark.parametrize(("untested", "listed"), [(page.UNTESTED, True), (page.UNTESTED + 1, False)])
def test_many_claims_without_a_verdict_are_only_counted(untested, listed):
  given = [samples.row("HEAD-1"), *(samples.row(f"POS-{i}", "untested") for i in range(untested))]
  assert len(page.worth_telling(given, told=False)) == (1 + untested if listed else 1)
  assert f"{untested} untested" in page.summary(given)


def test_explain_tells_the_claim_its_test_and_its_verdict():
  given = samples.claim(literature=[{"value": "1", "unit": "", "source": "Someone"}], note="Mind the scale.")
  text = page.explain(given, samples.row(), level=0.0125)
  for part in ("Several heads", "D3-1", "sign-flip", "0.1, stated", "0.0125, one-sided", "(from memory)", "Mind the"):
    assert part in text
  for part in ("Verdict: reproduced (small, cpu)", "0.500 [0.400, 0.600]", "heads=1: 0.400", "1 diverged", "100–111"):
    assert part in text
  assert all(len(line) <= page.WIDTH for line in text.splitlines())


def test_explain_tells_the_claim_once_and_every_row():
  text = page.explain(samples.claim(), samples.row(), samples.row(verdict="refuted", tier="quick"))
  assert text.count("Several heads") == 1
  assert text.count("Verdict: ") == 2
  assert "0.0029, one-sided" in text  # the level of the rows themselves


def test_explain_before_anything_ran():
  given = samples.claim(rule=None, minimum_effect=None, config=None, tiers=[])
  assert page.explain(given).endswith("No verdict yet.\n")
  assert "none yet" in page.explain(given, samples.row(verdict="untested"))
