"""Rows of a result as a pandas frame, as HTML and as CSV; a whole page inside a notebook."""

import csv
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.pages import numbers
from model.errors import Refused

STYLE = "border-collapse:collapse;font:13px/1.4 ui-sans-serif,system-ui,sans-serif"
CELL = "padding:2px 10px;text-align:left;border-bottom:1px solid #8884"
HEIGHT = 640  # pixels of an embedded page


def frame(rows: Sequence[Mapping[str, Any]]) -> Any:
  """A pandas DataFrame, one line per row. Raises Refused where pandas is not installed."""
  try:
    import pandas
  except ImportError as error:
    raise Refused(
      "a frame needs pandas, which is not installed; run `pip install pandas`, or read .rows, a list of dicts"
    ) from error
  return pandas.DataFrame([dict(row) for row in rows], columns=columns(rows))


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
  """The names of all rows, in order of appearance."""
  return list(dict.fromkeys(name for row in rows for name in row))


def table(rows: Sequence[Mapping[str, Any]], title: str = "") -> str:
  """Rows as an HTML table; every text is escaped."""
  names = columns(rows)
  head = "".join(f'<th style="{CELL}">{html.escape(name)}</th>' for name in names)
  lines = [
    "<tr>" + "".join(f'<td style="{CELL}">{html.escape(shown(row.get(name)))}</td>' for name in names) + "</tr>"
    for row in rows
  ]
  caption = f'<caption style="text-align:left;padding:4px 10px"><b>{html.escape(title)}</b></caption>' if title else ""
  return f'<table style="{STYLE}">{caption}<thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def shown(value: Any) -> str:
  """A cell's text."""
  if value is None:
    return ""
  if isinstance(value, float):
    return f"{value:.4g}"
  if isinstance(value, list | tuple):
    return f"({', '.join(map(shown, value))})"
  return numbers.plain(str(value))


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
  """Rows as CSV with a header line, numbers in full, lines ended by a line feed."""
  text = io.StringIO()
  writer = csv.DictWriter(text, columns(rows), lineterminator="\n")
  writer.writeheader()
  writer.writerows(rows)
  return text.getvalue()


def embedded(page: str) -> str:
  """A whole page of ours for a notebook's cell: in a frame of its own, so that no style leaks out or in."""
  style = f"width:100%;height:{HEIGHT}px;border:0"
  return f'<iframe srcdoc="{html.escape(page, quote=True)}" style="{style}" title="report"></iframe>'
