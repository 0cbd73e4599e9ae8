"""Rows as Markdown and as terminal text: LEDGER.md, the README's excerpt, the verdict table, one claim explained."""

import re
import textwrap
from collections.abc import Mapping, Sequence

from experiments.ledger import ledger
from experiments.pages import numbers, verdicts
from experiments.protocol import replication
from experiments.protocol.calibration import told
from model.errors import Refused

STYLES = {
  "reproduced": "bold green",
  "conditional": "bold magenta",
  "refuted": "bold red",
  "inconclusive": "yellow",
  "definition": "blue",
  "untested": "dim",
}
RULES = {
  "EXACT": "every value lies in the stated range",
  "PERM": "exact sign-flip test of differences paired by seed, its interval inverted from the test",
  "T": "Student's t of differences paired by seed, as there are too few for the exact test",
  "TOST": "equivalence: the whole interval inside the margin, a known difference outside it in the same run",
}
WHAT = {
  "attention": "a mechanism of attention",
  "position": "a position scheme",
  "feedforward": "a feed-forward layer",
  "cell": "a recurrent cell",
  "tasks": "a task",
  "model": "a model",
  "probe": "a probe",
  "measure": "a measure",
}
WIDTH = 88
UNTESTED = 12  # rows without a verdict that the terminal still lists one by one
HEADLINES = 12  # rows that the README shows unless it names its own


def ledger_markdown(rows: Sequence[Mapping], claims: Sequence[Mapping], calibration: Mapping | None = None) -> str:
  """LEDGER.md: every row of every claim by group, then the claims without a verdict.

  `calibration` is what `assay calibrate` found, where it was run. Nothing of `run` is shown, so that honest reruns give
  the same page.
  """
  from experiments.pages.build import environment  # the terminal needs none

  items, judged = _items(claims), [row for row in rows if row["verdict"] != "untested"]
  names = dict.fromkeys([verdicts.group(key) for key in (*items, *sorted(row["id"] for row in judged))])
  order = {identifier: place for place, identifier in enumerate(items)}
  judged.sort(key=lambda row: (order.get(row["id"], len(order)), row["id"], verdicts.tier(row), str(row.get("device"))))
  groups = []
  for name in names:
    lines = [_line(row, items.get(row["id"], {})) for row in judged if verdicts.group(row["id"]) == name]
    title = f"{name}: {verdicts.GROUPS[name]}" if name in verdicts.GROUPS else name
    groups += [{"title": title, "lines": lines}] if lines else []
  counts = _counts(rows, items)
  published = [entry for item in items.values() for entry in item.get("literature", ())]
  template = environment(escape=False).get_template("ledger.md.j2")
  text = template.render(
    total=sum(counts.values()),
    summary=_summary(counts),
    counts=list(counts.items()),
    signs=verdicts.SIGNS,
    meanings=verdicts.MEANINGS,
    groups=groups,
    untested=_untested(rows, items),
    calibration=[numbers.plain(text) for text in told(calibration)] if calibration else [],
    replicated=_replicated(judged),
    at_once=_at_once(judged),
    published=len(published),
    looked_up=sum(bool(entry["checked"]) for entry in published),
  )
  return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def readme_excerpt(rows: Sequence[Mapping], claims: Sequence[Mapping], headlines: Sequence[str] = ()) -> str:
  """The README's block: how many claims came out how, and a table of `headlines` (ids; else the first telling rows)."""
  from experiments.pages.build import environment  # the terminal needs none

  items, best = _items(claims), verdicts.per_claim(rows)
  counts = _counts(rows, items)
  chosen = [best[key] for key in headlines if key in best] if headlines else _telling(best, items)
  judged = sum(count for verdict, count in counts.items() if verdict != "untested")
  return (
    environment(escape=False)
    .get_template("excerpt.md.j2")
    .render(
      judged=judged,
      total=sum(counts.values()),
      summary=_summary(counts),
      lines=[_line(row, items.get(row["id"], {}), briefly=True) for row in chosen],
    )
    .strip()
  )


def replace_excerpt(readme_text: str, block: str) -> str:
  """The README with `block` between the ledger's marks; doing it twice changes nothing."""
  if any(readme_text.count(mark) != 1 for mark in ledger.MARKS):
    begin, end = ledger.MARKS
    raise Refused(
      f"README.md has no single place for the ledger's excerpt; allowed: one line {begin} and one {end} after it"
    )
  return ledger.with_excerpt(readme_text, block)


def lines(row: Mapping, claim: Mapping = verdicts.NOTHING) -> list[str]:
  """One or two lines on a row: sign, verdict, id; what was measured in which unit, the effect, what was needed.

  A conditional row has a line for each of its two cells. The reason is left to `assay explain` and the report.
  """
  word = row["verdict"]
  stale = " (stale)" if row.get("stale") else ""
  head = f"{verdicts.SIGNS.get(word, '·')} {word + stale:<13} {row['id']:<10}"
  return _lines(head, row, claim)


def _lines(head: str, row: Mapping, claim: Mapping) -> list[str]:
  if row["verdict"] == "conditional":
    cells = {test.get("cell"): test for test in reversed(verdicts.shown(row)) if test.get("cell")}
    told = [numbers.plain(verdicts.named(test, claim)) for _, test in reversed(cells.items())][:2]
    if len(told) == 2:
      return [f"{head} {told[0]}", f"{'':<{len(head)}} {told[1]}"]
    return [f"{head} {numbers.plain(row.get('condition') or '')}"]
  decided = verdicts.deciding(row)
  told = numbers.plain(verdicts.named(decided, claim) if decided else row.get("reason") or "")
  more = len(row.get("tests") or ()) - 1
  return [f"{head} {told if decided else _cut(told)}" + (f" (one of {more + 1} tests)" if decided and more else "")]


def _cut(text: str, length: int = 120) -> str:
  return text if len(text) <= length else f"{text[: length - 1]}…"


def styled(row: Mapping, claim: Mapping = verdicts.NOTHING):
  """The lines of a row with the verdict's color, as a rich Text."""
  from rich.text import Text

  text = Text("\n".join(lines(row, claim)))
  text.stylize(STYLES.get(row["verdict"], ""), 0, len(row["verdict"]) + 2)
  return text


def worth_telling(rows: Sequence[Mapping], *, told: bool) -> list[Mapping]:
  """The rows that the end of a command prints: what was told before is left out, and a crowd without a verdict."""
  untested = sum(row["verdict"] == "untested" for row in rows)
  return [
    row for row in rows if (untested <= UNTESTED if row["verdict"] == "untested" else not told or row.get("stale"))
  ]


def summary(rows: Sequence[Mapping]) -> str:
  """`12 claims: 8 reproduced, 3 refuted, 1 untested`."""
  found = _summary(verdicts.counts(rows))
  more = "; `assay explain ID` says what a claim needs" if any(row["verdict"] == "untested" for row in rows) else ""
  return f"{len(rows)} {'claim' if len(rows) == 1 else 'claims'}: {found}{more}"


def explain(claim: Mapping, *rows: Mapping | None, level: float | None = None) -> str:
  """`assay explain ID`: what the document states, how it is tested and the verdict of each of its rows.

  `claim` is an item of `assay list claims`; `level` is the one-sided level of its test, else the rows' own is shown.
  """
  found = [row for row in rows if row and row["verdict"] != "untested"]
  title = verdicts.GROUPS.get(claim["group"], "")
  lines = [f"{claim['id']}: {title}" if title else claim["id"], ""]
  lines += [f"The document states ({claim['document']}; {claim['place']})", *_wrapped(claim["statement"]), ""]
  lines += ["How it is tested", *_method(claim, found, level)]
  lines += [line for text in verdicts.literature(claim) for line in _field("published", text)]
  if claim.get("note"):
    lines += ["", *_wrapped(claim["note"])]
  for row in found:
    lines += ["", *_found(row, claim)]
  lines += [] if found else ["", "No verdict yet."]
  return "\n".join(lines) + "\n"


def about(item: Mapping) -> str:
  """`assay explain KIND`: what a mechanism, a position scheme, a task, a model, a probe or a measure is."""
  lines = [f"{item.get('kind') or item.get('name')}: {WHAT.get(item['what'], item['what'])} ({item['file']})", ""]
  lines += [f"  {line}".rstrip() for line in str(item.get("definition") or "").splitlines()]
  plain = {key: item.get(key) for key in ("paper", "formula", "cost_time", "cost_memory", "label", "unit", "better")}
  fields = [line for key, text in plain.items() if text for line in _field(key.replace("_", " "), str(text))]
  for name, option in (item.get("options") or {}).items():
    fields += _field("option", f"{name}={option['default']} ({option['type']})")
  for name, value in (item.get("supports") or {}).items():
    fields += _field("supports", f"{name}: {value}")
  fields += [line for name in item.get("measures") or () for line in _field("measure", name)]
  return "\n".join([*lines, *([""] if fields else []), *fields]) + "\n"


# ---------------------------------------------------------------------------------------------------------------------
# Parts


def _items(claims: Sequence[Mapping]) -> dict[str, Mapping]:
  return {item["id"]: item for item in claims}


def _counts(rows: Sequence[Mapping], items: Mapping) -> dict[str, int]:
  """Claims per verdict, one row each; a claim without a row is untested."""
  best = verdicts.per_claim(rows)
  return verdicts.counts([best.get(key, {}) for key in dict.fromkeys((*items, *best))])


def _replicated(rows: Sequence[Mapping]) -> list[str]:
  """A line for each first seed from which rows were judged again: the answers then, and what they are now if others."""
  found: dict[int, list[tuple[Mapping, Mapping]]] = {}
  for row in rows:
    for one in row.get("replications") or ():
      found.setdefault(min(one["seeds"]["tuning"] or one["seeds"]["reporting"]), []).append((row, one))
  return [_answers(first, found[first]) for first in sorted(found)]


def _answers(first: int, pairs: Sequence[tuple[Mapping, Mapping]]) -> str:
  then, now = [one["answer"] for _, one in pairs], [replication.agreement(row, one) for row, one in pairs]
  undecided = sum(row["verdict"] == one["verdict"] == "inconclusive" for row, one in pairs)
  text = f"{len(pairs)} rows from seed {first} on: {_each(then)}"
  text += f", held against the rows as they are now {_each(now)}" if sorted(then) != sorted(now) else ""
  return f"{text}; {undecided} of them inconclusive both times" if undecided else text


def _each(answers: Sequence[str]) -> str:
  """`19 agrees, 1 open`."""
  return ", ".join(f"{answers.count(answer)} {answer}" for answer in replication.ANSWERS if answer in answers)


def _at_once(rows: Sequence[Mapping]) -> list[str]:
  """Rows of trained models that were judged once at their whole level, as all were before there were looks."""
  return [f"{row['id']} ({row['tier']})" for row in rows if row.get("trials") and not row.get("look")]


def _summary(counts: Mapping[str, int]) -> str:
  return ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) or "none"


def _untested(rows: Sequence[Mapping], items: Mapping) -> list[dict]:
  best = verdicts.per_claim(rows)
  waiting = [
    key for key in dict.fromkeys((*items, *best)) if best.get(key, {}).get("verdict", "untested") == "untested"
  ]
  return [
    {
      "id": key,
      "place": _safe(items.get(key, {}).get("place", "")),
      "statement": _safe(items.get(key, {}).get("statement", "")),
      "needs": _safe(items.get(key, {}).get("evidence", "")),
    }
    for key in waiting
  ]


def _telling(best: Mapping[str, Mapping], items: Mapping) -> list[Mapping]:
  """Empirical rows with a clear verdict, at most two of a group, in the catalog's order."""
  found: list[Mapping] = []
  for key in dict.fromkeys((*items, *best)):
    row = best.get(key, {})
    clear = row.get("nature") == "empirical" and row.get("verdict") in ("reproduced", "conditional", "refuted")
    if clear and sum(verdicts.group(other["id"]) == verdicts.group(key) for other in found) < 2:
      found.append(row)
  return found[:HEADLINES]


def _line(row: Mapping, claim: Mapping, *, briefly: bool = False) -> dict:
  say = (lambda test: verdicts.named(test, claim, briefly=True)) if briefly else (lambda test: _sentence(test, claim))
  verdict = f"{verdicts.SIGNS.get(row['verdict'], '·')} {row['verdict']}" + (", stale" if row.get("stale") else "")
  verdict += "".join(f"<br>{_safe(text)}" for text in (row.get("condition"), *verdicts.again(row)) if text)
  return {
    "id": row["id"],
    "place": _safe(claim.get("place", "")),
    "statement": _safe(claim.get("statement", "")),
    "verdict": verdict,
    "figures": "<br>".join(_safe(say(test)) for test in verdicts.shown(row)) or numbers.NONE,
    "where": f"{row.get('tier')}, {row.get('device')}",
    "published": "<br>".join(_safe(text) for text in verdicts.literature(claim)),
  }


def _safe(text: str) -> str:
  """Text for a Markdown table cell: nothing in it is markup."""
  text = numbers.plain(text).replace("&", "&amp;").replace("<", "&lt;").replace("](", "]\\(")
  return re.sub(r"([\\|*`])", r"\\\1", text)


def _sentence(test: Mapping, claim: Mapping) -> str:
  """`accuracy at the end (heads=4 > heads=1): 0.590 [0.550, 0.620], needed > 0.1, n 12, p 0.0002 at level 0.0029`."""
  parts = [verdicts.named(test, claim), f"n {test.get('n')}", *(["Student's t"] if test.get("rule") == "T" else [])]
  if test.get("p") is not None:
    parts.append(f"p {numbers.short(test['p'])} at level {numbers.short(test.get('alpha'))}")
  return ", ".join(parts)


def _wrapped(text: str, indent: str = "  ") -> list[str]:
  return textwrap.wrap(numbers.plain(text), WIDTH, initial_indent=indent, subsequent_indent=indent) or [indent.rstrip()]


def _field(name: str, text: str) -> list[str]:
  return textwrap.wrap(numbers.plain(text), WIDTH, initial_indent=f"  {name:<12}", subsequent_indent=" " * 14)


def _method(claim: Mapping, rows: Sequence[Mapping], level: float | None) -> list[str]:
  rule = claim.get("rule") or ""
  meaning = "; ".join(text for code, text in RULES.items() if code in re.findall("[A-Z]+", rule))
  minimum = claim.get("minimum_effect")
  if level is None:
    level = next((test["alpha"] for row in rows for test in row.get("tests") or () if test.get("alpha")), None)
  card = f", card {claim['config']}" if claim.get("config") else ""
  fields = [
    ("evidence", f"{claim['evidence']} ({claim['nature']}){card}"),
    ("tiers", ", ".join(claim.get("tiers") or ()) or "none yet"),
    ("measure", claim.get("measure")),
    ("rule", f"{rule}: {meaning}" if meaning else rule),
    ("minimum", "" if minimum is None else f"{numbers.short(minimum)}, stated beforehand"),
    ("level", "" if level is None or rule == "EXACT" else f"{numbers.short(level)}, one-sided"),
    ("against", ", ".join(claim.get("contradicts") or ())),
  ]
  return [line for name, text in fields if text for line in _field(name, text)]


def _found(row: Mapping, claim: Mapping) -> list[str]:
  stale = ", stale: its code has changed since" if row.get("stale") else ""
  lines = [f"Verdict: {row['verdict']} ({row.get('tier')}, {row.get('device')}{stale})"]
  lines += _wrapped(row["condition"]) if row.get("condition") else []
  lines += _wrapped(row["reason"]) if row.get("reason") else []
  lines += [line for text in verdicts.again(row) for line in _field("again", text)]
  for test in row.get("tests") or ():
    lines += _field("test", f"{_sentence(test, claim)}; {'passed' if test.get('passed') else 'not passed'}")
  for arm in row.get("arms") or ():
    figures = numbers.effect(arm.get("mean"), arm.get("ci"))
    lost = "".join(f", {arm[status]} {status}" for status in ("diverged", "stalled") if arm.get(status))
    rate = f", rate {numbers.short(arm['lr'])}" if arm.get("lr") is not None else ""
    name, measure = arm.get("name") or "", verdicts.of_arm(arm.get("name") or "", claim)
    shown = f"{name.partition(':')[0]}, {measure}" if measure else name
    lines += _field("arm", f"{shown}: {figures}, n {arm.get('n')}{rate}{lost}")
  return lines + (_field("seeds", verdicts.seeds(row)) if verdicts.seeds(row) else [])
