"""Pictures show every seed and count what was lost; the page's colors can be told from its paper."""

import math
import re
import xml.etree.ElementTree as ET

import pytest

from experiments.pages import build, figures, marks, svg
from experiments.pages.report import ArmData, StudyPlot
from tests.experiments.pages import samples


def test_every_finite_seed_is_a_dot_and_lost_ones_are_counted():
  arms = [samples.arm("a", 1.0, values=(0.1, 0.2, 0.3, math.nan)), samples.arm("b", 2.0, values=(0.4, math.inf, 0.6))]
  panel = figures.panels(StudyPlot("s", "t", "x", "y", arms), "p")[0]
  dots = re.findall(r'd="((?:M[\d.]+ [\d.]+L[\d.]+ [\d.]+)+)"[^>]*stroke-width:4\.4', panel.svg)
  assert sum(path.count("M") for path in dots) == 5
  assert panel.svg.count("×1") == 2
  assert "2 seeds without a number" in panel.note


def test_pictures_are_sound_and_name_their_arms():
  panels = figures.panels(samples.study(), "p")
  assert [panel.caption for panel in panels] == ["Accuracy by heads", "Learning curves", "Learning rates tried"]
  for panel in panels:
    root = ET.fromstring(panel.svg)
    assert root.get("viewBox")
    assert "heads=4" in (root.get("aria-label") or "")
    assert not re.search(r"#[abc]0000\d|NaN|nan,|DejaVu", panel.svg)  # every stand-in color was replaced


def test_marks_refer_to_ids_of_their_own_picture():
  seen = set()
  for i in range(2):
    for panel in figures.panels(samples.study(), f"p{i}"):
      ids = re.findall(r' id="([^"]+)"', panel.svg)
      assert set(re.findall(r'href="#([^"]+)"', panel.svg)) == set(ids)
      assert not seen & set(ids)
      seen |= set(ids)


def test_edge_of_the_grid_is_marked():
  edge, inside = (ArmData("a", tuning=[(1e-3, 0.1), (1e-2, 0.2)], chosen_lr=1e-2, edge=edge) for edge in (True, False))
  found = [figures.panels(StudyPlot("s", "t", arms=[arm]), "p")[0].svg.count("▶") for arm in (edge, inside)]
  assert found == [1, 0]


def test_variants_get_pictures_of_their_own():
  arms = [samples.arm(f"{group} heads={x}", x, group) for group in ("narrow", "wide") for x in (1.0, 2.0, 4.0)]
  panels = figures.panels(samples.study(arms=arms), "p")
  assert [panel.caption for panel in panels[1:]] == [
    f"{what}, {group}" for group in ("narrow", "wide") for what in ("Learning curves", "Learning rates tried")
  ]
  assert [label for _, label in panels[0].legend] == ["narrow", "wide"]
  assert [label for _, label in panels[1].legend] == ["heads 1", "2", "4"]


def test_curves_average_seeds_and_skip_missing_numbers():
  curves = [[(0, 1.0), (10, 2.0)], [(0, 3.0), (10, math.nan)], [(0, 2.0)]]
  (first, *_), (last, mean, low, high) = figures._mean_curve(curves)
  assert (first, last, mean, low, high) == (0, 10, 2.0, 2.0, 2.0)
  long = [[(step, 0.0) for step in range(1000)]]
  thinned = figures._mean_curve(long)
  assert len(thinned) <= figures.POINTS + 1
  assert thinned[-1][0] == 999


def test_styles_differ_in_more_than_color():
  styles = marks.kinds(16)
  assert len({(style.marker, style.dash) for style in styles}) == 16
  assert len({style.color for style in styles[:8]}) == 8


def test_interval_is_nan_below_two_seeds():
  assert all(map(math.isnan, figures.interval([0.5])))
  low, high = figures.interval([0.4, 0.5, 0.6])
  assert low < 0.5 < high


def test_small_picture_of_a_test_needs_figures():
  assert 'class="delta"' in marks.forest(samples.line_of())
  assert marks.forest({**samples.line_of(), "rule": "TOST"}).count("delta") == 2
  assert marks.forest(samples.line_of(effect="nan")) == ""
  assert marks.forest({**samples.line_of(), "ci": None}) == ""
  assert marks.forest({**samples.line_of(), "rule": "EXACT"}) == ""


def palette():
  text = build.environment().get_template("style.css.j2").render()
  blocks = [text[text.index(":root") :].split("}")[0], text[text.index("prefers-color-scheme: dark") :].split("}")[0]]
  return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks]


def contrast(a, b):
  """WCAG 2 contrast ratio of two hex colors."""

  def luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

  high, low = sorted((luminance(a), luminance(b)), reverse=True)
  return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colors", palette(), ids=["light", "dark"])
def test_text_and_lines_stand_out_from_their_ground(colors):
  for ground in ("paper", "card"):
    assert contrast(colors["ink"], colors[ground]) > 10
    assert contrast(colors["muted"], colors[ground]) > 4.5
    assert contrast(colors["gold"], colors[ground]) > 4.5
  for verdict in ("reproduced", "conditional", "refuted", "inconclusive", "definition", "untested"):
    assert contrast(colors[verdict], colors[f"{verdict}-soft"]) > 4.5
  for i in range(1, len(svg.SERIES) + 1):
    assert contrast(colors[f"s{i}"], colors["card"]) > 3
    assert contrast(colors[f"q{i}"], colors["card"]) > 3


def test_arms_with_a_class_of_ones_own_can_be_told_apart():
  names = [f"attention=./folder/warmer.py:Warm heads={heads}" for heads in (1, 4)]
  arms = [ArmData(name, values=(0.5, 0.6), curves=[[(0, 0.1), (1, 0.5)]]) for name in names]
  labels = [[], []]
  for panel in figures.panels(StudyPlot("mine", "mine", y_label="accuracy", arms=arms), "p"):
    labels[0] += [label for _, label in panel.legend]
    labels[1] += re.findall(r">(attention=[^<]*)<", panel.svg)
  assert labels[0] == labels[1] == ["attention=Warm heads=1", "attention=Warm heads=4"]


def test_what_a_picture_shows_is_set_off_from_by_what():
  captions = [
    figures.panels(StudyPlot("x", "x", x_label="heads", y_label=label, arms=[samples.arm()]), "p")[0].caption
    for label in ("accuracy", "accuracy, mean over training")
  ]
  assert captions == ["Accuracy by heads", "Accuracy, mean over training, by heads"]
