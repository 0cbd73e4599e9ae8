"""Matplotlib's SVG made small and made to follow the page: CSS variables for colors, the page's font, no URL.

Colors are stand-ins while matplotlib draws (`SERIES`, `ORDERED`, `INK` ...); here they become `var(--s1)` and so on, so
that one picture serves the light and the dark page.
"""

import re
import xml.etree.ElementTree as ET

SERIES = tuple(f"#a0000{i}" for i in range(1, 9))  # kinds: told apart by hue
ORDERED = tuple(f"#b0000{i}" for i in range(1, 9))  # amounts: light to dark
INK, MUTED, GRID, PAPER = "#c00001", "#c00002", "#c00003", "#c00004"

_NAMED = {INK: "ink", MUTED: "muted", GRID: "line", PAPER: "card"}
_VARIABLES = {
  **{color: f"var(--{name})" for color, name in _NAMED.items()},
  **{color: f"var(--s{i})" for i, color in enumerate(SERIES, 1)},
  **{color: f"var(--q{i})" for i, color in enumerate(ORDERED, 1)},
}
_LINK = "{http://www.w3.org/1999/xlink}href"
_NUMBER = re.compile(r"-?\d+\.\d+")
_DROPPED = {"font", "font-family", "stroke-linejoin", "stroke-miterlimit"}  # the page's style sheet says them once


def variable(color: str) -> str:
  """The CSS value behind a stand-in color."""
  return _VARIABLES.get(color, color)


def tidy(text: str, prefix: str, label: str) -> str:
  """Matplotlib's SVG document -> one inline <svg> element whose ids start with `prefix`, read out as `label`."""
  root = ET.fromstring(text)
  used = {use.get(_LINK, "")[1:] for use in root.iter() if use.get(_LINK)}
  names = {name: f"{prefix}-{i}" for i, name in enumerate(sorted(used))}
  frame = {"class": "plot", "viewBox": root.get("viewBox", ""), "role": "img", "aria-label": label}
  return f"<svg{_write(frame)}>{''.join(_element(child, names) for child in root)}</svg>"


def _element(node: ET.Element, names: dict[str, str]) -> str:
  tag = node.tag.rsplit("}", 1)[-1]
  if tag in ("metadata", "style"):
    return ""
  inside = "".join(_element(child, names) for child in node)
  if tag == "text":
    inside = _escape(" ".join((node.text or "").split()))
  attributes = _attributes(node, names)
  if (tag == "g" and not attributes) or tag == "defs":
    return inside  # a group that says nothing; what is defined is only drawn through <use>, see below
  if tag == "path" and "id" in attributes:
    inside, attributes = f"<path{_write(attributes)}/>", {}
    return f"<defs>{inside}</defs>"
  if (tag in ("g", "text") and not inside) or (tag == "path" and not attributes.get("d")):
    return ""
  if tag == "path" and attributes.get("style") == "fill:none":
    return ""  # the transparent backgrounds of figure and axes
  return f"<{tag}{_write(attributes)}>{inside}</{tag}>" if inside else f"<{tag}{_write(attributes)}/>"


def _attributes(node: ET.Element, names: dict[str, str]) -> dict[str, str]:
  kept = {}
  for name, value in node.attrib.items():
    if name == "id":
      if value in names:
        kept["id"] = names[value]
    elif name == _LINK:
      kept["href"] = "#" + names[value[1:]]
    elif name == "style":
      kept["style"] = _style(value)
    elif name == "transform" and value.startswith("rotate(-0"):
      continue
    elif name in ("d", "x", "y", "transform"):
      kept[name] = _short(value)
  return {name: value for name, value in kept.items() if value}


def _style(text: str) -> str:
  pairs = [part.split(":", 1) for part in text.split(";") if ":" in part]
  kept = {name.strip(): value.strip() for name, value in pairs}
  if "font" in kept:  # "11px 'DejaVu Sans', ..."
    kept["font-size"] = next(word for word in kept["font"].split() if word.endswith("px"))
  return ";".join(f"{name}:{_VARIABLES.get(value, value)}" for name, value in kept.items() if name not in _DROPPED)


def _short(value: str) -> str:
  """One decimal is a tenth of a pixel: enough. Letters of a path need no blanks around them."""
  value = _NUMBER.sub(lambda match: f"{round(float(match[0]), 1) + 0.0:g}", value)
  return re.sub(r"\s*([MLCQz])\s*", r"\1", " ".join(value.split()))


def _write(attributes: dict[str, str]) -> str:
  return "".join(f' {name}="{_escape(value)}"' for name, value in attributes.items())


def _escape(text: str) -> str:
  return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
