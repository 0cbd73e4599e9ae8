"""`assay new mechanism|position|task|card|claim NAME [--here]`: a first file that runs, and its test, to change.

Without --here a mechanism, position, task or card becomes one of this repository and is known by its name; with it the
file lies in the current folder and is named by its path. A claim always lies in the current folder.
"""

import keyword
import re
from pathlib import Path
from typing import Any, NamedTuple

from experiments.record import atomic, digest
from model.errors import Refused

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"


class Kind(NamedTuple):
  """Where the files of one kind go, and the command that is worth trying next, by name or by path."""

  module: str
  test: str | None
  by_name: str
  by_path: str


KINDS = {
  "mechanism": Kind(
    "model/attention/{name}.py",
    "tests/model/attention/test_{name}.py",
    "assay compare attention=dot attention={name} --config=recall",
    "assay compare attention=dot attention=./{name}.py:{camel} --config=recall",
  ),
  "position": Kind(
    "model/position/{name}.py",
    "tests/model/position/test_{name}.py",
    "assay train --config=recall --config.model.position.kind={name}",
    "assay train --config=recall --config.model.position.kind=./{name}.py:{camel}",
  ),
  "task": Kind(
    "train/tasks/{name}.py",
    "tests/train/tasks/test_{name}.py",
    "assay train --config=recall --config.task.kind={name}",
    "assay train --config=recall --config.task.kind=./{name}.py:{camel}",
  ),
  "card": Kind(
    "configs/{name}.py",
    None,  # tests/configs/test_cards.py holds for every card
    "assay sweep --config={name}",
    "assay sweep --config=./{name}.py",
  ),
  "claim": Kind("{name}.py", None, "", "assay reproduce ./{name}.py --tier=quick"),
}


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Writes the files and says what to run next; never overwrites."""
  name, kind, here = space.name, KINDS[space.what], space.here or space.what == "claim"
  if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name) or keyword.iskeyword(name):
    raise Refused(f"{name!r} cannot name a file; use lower-case letters, digits and _, such as my_{space.what}")
  files = _files(space.what, kind, name, here)
  for path in files:
    if path.exists():
      raise Refused(f"{path} exists already; choose another name")
  for path, text in files.items():
    atomic.write_text(path, text)
  then = (kind.by_path if here else kind.by_name).format(name=name, camel=_camel(name))
  if not space.json:
    print("\n".join(f"wrote {path}" for path in files))
    print(f"next: {then}")
  return {"schema": 1, "files": [str(path) for path in files], "next": then}, 0


def _files(what: str, kind: Kind, name: str, here: bool) -> dict[Path, str]:
  """The texts to write, by path; of a file in the current folder the test lies beside it."""
  root = digest.root()
  module = Path.cwd() / f"{name}.py" if here else root / kind.module.format(name=name)
  files = {module: fill(_template(f"{what}.py.txt"), name, here)}
  if kind.test:
    test = Path.cwd() / f"test_{name}.py" if here else root / kind.test.format(name=name)
    files[test] = fill(_template(f"test_{what}.py.txt"), name, here)
  return files


def _template(file: str) -> str:
  return (TEMPLATES / file).read_text(encoding="utf-8")


def fill(text: str, name: str, here: bool = False) -> str:
  """A template with its name filled in, as a file's name, a class, an id, a kind and a card.

  A line that ends in `# here` or `# house` stays only where the file is the user's own, or this repository's.
  """
  camel, identity = _camel(name), re.sub(r"[^A-Z0-9]", "", name.upper())
  kept, left = ("here", "house") if here else ("house", "here")
  lines = [line for line in text.splitlines() if not line.endswith(f"  # {left}")]
  text = "\n".join(line.removesuffix(f"  # {kept}") for line in lines) + "\n"
  kind = f"./{name}.py:{camel}" if here else name
  card = f"./{name}.py" if here else name
  words = {"$NAME": name, "$CLASS": camel, "$ID": identity, "$KIND": kind, "$CARD": card}
  for word, value in words.items():
    text = text.replace(word, value)
  return text


def _camel(name: str) -> str:
  return "".join(part.capitalize() for part in name.split("_"))
