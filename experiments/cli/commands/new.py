"""`assay new mechanism|position|task|claim NAME`: a first file that runs, and its test, to be changed into yours."""

import keyword
import re
from pathlib import Path
from typing import Any

from experiments.record import atomic, digest
from model.errors import Refused

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"
PLACES = {
  "mechanism": ("model/attention/{name}.py", "tests/attention/test_{name}.py"),
  "position": ("model/position/{name}.py", "tests/position/test_{name}.py"),
  "task": ("train/tasks/{name}.py", "tests/tasks/test_{name}.py"),
  "claim": ("{name}.py", None),
}
NEXT = {
  "mechanism": "assay compare attention=dot attention={name} --config=recall",
  "position": "assay train --config=recall --config.model.position.kind={name}",
  "task": "assay train --config=recall --config.task.kind={name}",
  "claim": "assay reproduce ./{name}.py --tier=quick",
}


def run(space, overrides: list[str]) -> tuple[dict[str, Any], int]:
  """Writes the files and says what to run next; never overwrites."""
  name = space.name
  if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name) or keyword.iskeyword(name):
    raise Refused(f"{name!r} cannot name a file; use lower-case letters, digits and _, such as my_{space.what}")
  module, test = PLACES[space.what]
  root = Path.cwd() if space.what == "claim" else digest.root()
  files = {root / module.format(name=name): f"{space.what}.py.txt"}
  if test:
    files[root / test.format(name=name)] = f"test_{space.what}.py.txt"
  for path in files:
    if path.exists():
      raise Refused(f"{path} exists already; choose another name")
  for path, template in files.items():
    atomic.write_text(path, fill((TEMPLATES / template).read_text(), name))
  then = NEXT[space.what].format(name=name)
  if not space.json:
    print("\n".join(f"wrote {path}" for path in files))
    print(f"next: {then}")
  return {"schema": 1, "files": [str(path) for path in files], "next": then}, 0


def fill(text: str, name: str) -> str:
  """A template with its name filled in, as a file's name, a class and an id."""
  camel = "".join(part.capitalize() for part in name.split("_"))
  identity = re.sub(r"[^A-Z0-9]", "", name.upper())
  return text.replace("$NAME", name).replace("$CLASS", camel).replace("$ID", identity)
