"""Today's tree and older ones side by side, each with a process of its own that answers for it; see `lowering`."""

import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.proof import history, hosts
from experiments.proof.differences import first
from experiments.record.atomic import canonical
from experiments.run.runner import Interrupted


class Unproved(Exception):
  """Why a row must run again, in a few words."""


@dataclasses.dataclass(frozen=True)
class Compared:
  """Two trials side by side: today's programs (name -> hash), and the first thing that differs."""

  programs: Mapping[str, str]
  device: str
  problem: str


class Lab:
  """Today's tree and old ones, each with a process that answers for it."""

  def __init__(self, base: Path, folder: Path, tell: Callable[[str], None]):
    self.base, self.folder, self.tell = base, folder, tell
    self.history = history.History(base)
    self.texts = folder / "texts"
    self.texts.mkdir()
    self._trees: dict[str, Tree] = {}
    self._answers: dict[str, dict[str, Any]] = {}
    self._compared: dict[str, Compared] = {}
    self._replayed: dict[str, str] = {}

  @functools.cached_property
  def today(self) -> "Tree":
    return Tree(self.base, self.texts)

  def old(self, commit: str) -> "Tree":
    """The tree of a commit; only one is kept at a time, since rows come sorted by their commit."""
    if commit not in self._trees:
      for name in list(self._trees):
        self._trees.pop(name).close()
        shutil.rmtree(self.folder / name)
      self.history.copy(commit, self.folder / commit)
      self._trees[commit] = Tree(self.folder / commit, self.texts)
    return self._trees[commit]

  def asked(self, request: Mapping[str, Any], commit: str = "") -> dict[str, Any]:
    """The answer of today's tree, or of a commit's, to a request that several rows make."""
    name = canonical([commit, request])
    if name not in self._answers:
      self.tell(f"  {request['name']}{f' in the tree of {commit[:10]}' if commit else ''}")
      self._answers[name] = (self.old(commit) if commit else self.today).ask(request)
    return self._answers[name]

  def both(self, commit: str, request: Mapping[str, Any], other: Mapping[str, Any] | None = None):
    """Answers of the old tree and of today's to a request, or each to its own, worked out side by side."""
    old, new = self.old(commit), self.today
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
      try:
        asked = [pool.submit(old.ask, request), pool.submit(new.ask, other or request)]
        return tuple(answer.result() for answer in asked)
      except (KeyboardInterrupt, Interrupted):
        old.close()  # the pool waits for their answers
        new.close()
        raise

  def compare(self, commit: str, before: Mapping, after: Mapping, files: Sequence[str] | None) -> Compared:
    """Whether a trial of the old tree is the same trial in today's; `files` None: its programs alone."""
    name = canonical([commit, before, after, files is None])
    if name not in self._compared:
      self.tell(f"  programs of {after['model']['kind']} on {after['task']['kind']} since {commit[:10]}")
      self._compared[name] = self._compare(commit, before, after, files)
    return self._compared[name]

  def _compare(self, commit, before, after, files) -> Compared:
    host = self._host(commit, after, files) if files is not None else ""
    if host:
      return Compared({}, self.today.device(), host)
    try:
      old, new = self.both(commit, {"op": "lower", "config": before}, {"op": "lower", "config": after})
    except Unproved as fault:
      return Compared({}, self.today.device(), str(fault))
    found = [f"{name} differs" for name in old["values"] | new["values"] if self._apart(old, new, "values", name)]
    found += [
      f"{name} differs{self._where(old['programs'].get(name), new['programs'].get(name))}"
      for name in old["programs"] | new["programs"]
      if self._apart(old, new, "programs", name)
    ]
    return Compared(new["programs"], new["device"], found[0] if found else "")

  @staticmethod
  def _apart(old, new, part: str, name: str) -> bool:
    return old[part].get(name) != new[part].get(name)

  def _host(self, commit: str, config: Mapping, files: Sequence[str]) -> str:
    """The first piece of host code that has changed, in words."""
    words = self.history.said_otherwise(commit)
    for path in sorted({*files, *hosts.ALWAYS}):
      held, now = self.history.text(commit, path), self.base / path
      content = now.read_bytes() if now.is_file() else None
      names = hosts.unseen(path, hosts.changed(held, content, path, words), config) if held != content else []
      if names:
        return f"{names[0]} of {path} has changed, which runs on the host"
    return ""

  def _where(self, old: str | None, new: str | None) -> str:
    """The first line in which two programs differ."""
    if old is None or new is None:
      return " (only one tree has it)"
    one, other = (zlib.decompress((self.texts / name).read_bytes()).decode().splitlines() for name in (old, new))
    pairs = (pair for pair in zip(one, other, strict=False) if pair[0] != pair[1])
    lines = next(pairs, (f"{len(one)} lines", f"{len(other)} lines"))
    was, now = (_short(line, *lines) for line in lines)
    return f": {was} became {now}"

  def replay(self, commit: str, before: Mapping, after: Mapping) -> str:
    """Trains one trial in both trees; "" where every figure of the old run stands in the new one."""
    name = canonical([commit, before, after])
    if name not in self._replayed:
      self.tell(f"  training {after['model']['kind']} on {after['task']['kind']} twice")
      old, new = self.both(commit, {"op": "replay", "config": before}, {"op": "replay", "config": after})
      self._replayed[name] = first(old, new, "the run")
    return self._replayed[name]

  def close(self) -> None:
    for tree in (*self._trees.values(), *([self.today] if "today" in self.__dict__ else [])):
      tree.close()


def _short(line: str, one: str, other: str) -> str:
  """A line around the place where two differ."""
  at = next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)
  start = max(0, at - 30)
  return " ".join(line[start : at + 40].split())


class Tree:
  """A process that answers for one tree; see `lowering`."""

  def __init__(self, root: Path, texts: Path):
    self.root, self.noise = root, tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by `close`)
    environment = {**os.environ, "PYTHONPATH": str(root)}
    pipe = subprocess.PIPE
    self.process = subprocess.Popen(
      [sys.executable, "-P", str(Path(__file__).with_name("lowering.py")), str(texts)],
      cwd=root,
      env=environment,
      text=True,
      bufsize=1,
      stdin=pipe,
      stdout=pipe,
      stderr=self.noise,
    )

  def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a request. Raises Unproved for one that this tree cannot give."""
    assert self.process.stdin
    assert self.process.stdout
    line = ""
    with contextlib.suppress(BrokenPipeError):
      self.process.stdin.write(json.dumps(request) + "\n")
      line = self.process.stdout.readline()
    if not line:
      self.noise.seek(0)
      raise RuntimeError(f"the process for {self.root} ended: {self.noise.read()[-500:]}")
    answer = json.loads(line)
    if "error" in answer:
      raise Unproved(f"{request['op']} failed in the tree {self.root.name}: {answer['error']}")
    return answer

  def device(self) -> str:
    return str(self.ask({"op": "device"})["device"])

  def close(self) -> None:
    self.process.kill()
    self.process.wait()
    for stream in (self.process.stdin, self.process.stdout, self.noise):
      with contextlib.suppress(BrokenPipeError):
        if stream:
          stream.close()
