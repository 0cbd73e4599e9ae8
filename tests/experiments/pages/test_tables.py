"""A table's download is the table: complete, readable by any CSV reader, and no formula."""

import csv
import io
import math
import re
import urllib.parse

from experiments.pages import build, tables
from tests.experiments.pages import samples


def rows_of(link):
  head, _, body = link["href"].partition(",")
  assert head == "data:text/csv;charset=utf-8"
  return list(csv.reader(io.StringIO(urllib.parse.unquote(body, errors="strict"))))


def test_texts_and_numbers_come_back():
  link = tables.link("a b/c", ["name", "x"], [('say "a, b"\n注', 0.1), ("=1+1", -0.5), ("@x", math.nan), (True, None)])
  assert link["name"] == "a-b-c.csv"
  assert rows_of(link) == [["name", "x"], ['say "a, b" 注', "0.1"], ["'=1+1", "-0.5"], ["'@x", ""], ["yes", ""]]
  assert not set('"<>&\n') & set(link["href"])


def test_a_study_has_a_line_for_every_seed():
  arms = [
    samples.arm(
      "heads=1", 1.0, values=(0.5, 0.6), beside=(0.7, 0.8), settings={"model.heads": "1"}, cost={"flops": 2e6}
    ),
    samples.arm("heads=4", 4.0, values=(0.9, math.nan), beside=(1.0, math.nan), settings={"model.heads": "4"}),
  ]
  given = samples.study(arms=arms, beside_label="accuracy, mean over training")
  head, *lines = rows_of(tables.study(given))
  assert head == [
    "arm",
    "group",
    "heads",
    "model.heads",
    "learning rate",
    "run",
    "accuracy",
    given.beside_label,
    "flops",
  ]
  assert lines[0] == ["heads=1", "", "1", "1", "0.01", "1", "0.5", "0.7", "2000000"]
  assert lines[3] == ["heads=4", "", "4", "4", "0.01", "2", "", "", ""]


def test_tests_and_arms_name_their_measures():
  claim = samples.claim(
    metric="auc", tested={"a > b": {"measure": "accuracy at the end", "what": "a > b", "needed": ""}}
  )
  row = samples.row(arms=[{"name": "a:accuracy", "n": 12, "mean": 0.4, "ci": [0.3, 0.5], "lr": 0.01}])
  head, line = rows_of(tables.tests([row], {"HEAD-1": claim}))
  found = dict(zip(head, line, strict=True))
  assert found["measure"] == "accuracy at the end"
  assert (found["effect"], found["low"], found["high"], found["needed"]) == ("0.5", "0.4", "0.6", "> 0.1")
  head, line = rows_of(tables.row_arms([row], {"HEAD-1": claim}))
  found = dict(zip(head, line, strict=True))
  assert (found["arm"], found["measure"], found["mean"]) == ("a", "accuracy at the end", "0.4")


def test_the_page_offers_every_table():
  arm = samples.arm(cost={"parameters": 10.0}, settings={"model.heads": "1"})
  pages = [
    build.html(samples.report()),
    build.html(samples.report(rows=[], comparisons=[samples.comparison()], studies=[samples.study(arms=[arm])])),
  ]
  offered = [set(re.findall(r'download="([^"]+)"', page)) for page in pages]
  assert offered[0] == {"tests.csv", "arms.csv", "heads.csv", "not-trained.csv"}
  assert offered[1] == {"comparisons.csv", "costs.csv", "heads.csv", "not-trained.csv"}
