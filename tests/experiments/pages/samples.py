"""Made-up rows, claims and studies for tests of the report; no figure here was measured."""

import math

from experiments.pages import numbers
from experiments.pages.report import ArmData, Comparison, Outcome, Report, StudyPlot


def line_of(name="a > b", effect=0.5, ci=(0.4, 0.6), minimum=0.1, passed=True, **more):
  given = {"name": name, "rule": "PERM", "n": 12, "effect": effect, "ci": list(ci), "ci_level": 0.95, "p": 0.000244}
  return {**given, "alpha": 0.0029, "minimum_effect": minimum, "passed": passed, **more}


def row(identifier="HEAD-1", verdict="reproduced", **more):
  arm = {"name": "heads=1", "lr": 0.01, "lr_on_edge": False, "n": 12, "mean": 0.4, "ci": [0.3, 0.5]}
  return {
    "schema": 1,
    "id": identifier,
    "tier": "small",
    "device": "cpu",
    "nature": "empirical",
    "verdict": verdict,
    "condition": None,
    "reason": "The difference exceeds the minimum effect.",
    "arms": [{**arm, "diverged": 1, "stalled": 0}],
    "tests": [] if verdict == "untested" else [line_of()],
    "seeds": {"tuning": [0, 1, 2], "reporting": [100, 111]},
    "configs_tried": 1,
    "config_sha256": "ab" * 32,
    "code_sha256": "cd" * 32,
    "data_sha256": {},
    "trials": ["0123456789abcdef"],
    "look": {"level": 0.0029, "n": 12, "number": 1, "of": 3},
    "stale": False,
    "versions": {"jax": "0.10.2"},
    "run": {"date": "2026-01-01", "seconds": 1, "device_name": "x", "pack_width": 1},
    **more,
  }


def claim(identifier="HEAD-1", **more):
  return {
    "id": identifier,
    "group": identifier.split("-")[0],
    "document": "D3",
    "place": "D3-1",
    "statement": "Several heads find what one head cannot.",
    "nature": "empirical",
    "evidence": "trial",
    "tiers": ["small"],
    "config": "heads",
    "measure": "test accuracy",
    "rule": "PERM",
    "minimum_effect": 0.1,
    "primary_tests": 1,
    "contradicts": [],
    "literature": [],
    **more,
  }


def arm(name="heads=1", x=1.0, group="", values=(0.5, 0.6, 0.7), **more):
  curves = [[(step, numbers.value(y) * step / 40) for step in (0, 20, 40)] for y in values]
  return ArmData(name, group, x, values, curves, [(1e-3, 0.4), (1e-2, 0.6)], 1e-2, edge=True, **more)


def study(name="heads", arms=None, **more):
  arms = (
    [arm("heads=1"), arm("heads=4", 4.0, values=(0.8, 0.9, math.nan)), arm("heads=8", 8.0)] if arms is None else arms
  )
  return StudyPlot(name, "Do heads help?", "heads", "accuracy", arms, ["HEAD-1"], floor=0.1, ceiling=1.0, **more)


def report(**more):
  given = {
    "title": "Claims about heads",
    "rows": [row(), row("HEAD-2", "refuted"), row("POS-1", "untested")],
    "claims": [claim("HEAD-2", contradicts=["HEAD-1"]), claim(), claim("POS-1"), claim("POS-2")],
    "studies": [study()],
    "contradictions": [("HEAD-1", "HEAD-2", "Heads")],
    "meta": {"tier": "small", "device": "cpu", "date": "2026-01-01", "seconds": 90, "versions": {"jax": "0.10.2"}},
    "outcomes": [Outcome("heads", "heads=4", 0.01, 102, "diverged", "not finite at step 3")],
  }
  return Report(**{**given, **more})


def comparison():
  return Comparison("banded − dot", -0.04, (-0.06, -0.02), 0.02, 12, 0.9, 0.05, "Banded loses.")
