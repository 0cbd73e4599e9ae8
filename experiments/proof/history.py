"""The repository's history as evidence: which commit held which file, and a copy of an old tree to run in."""

import functools
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.record import digest, moved
from model.errors import Refused

LEDGER = ("experiments/ledger/ledger.jsonl", "experiments/ledger.jsonl")  # today's place, and the one before it

Stamped = tuple[str, str, tuple[str, ...]]  # digests of code and config, keys of trials


def stamped(row: Mapping[str, Any]) -> Stamped:
  """What a row says of how it was made."""
  return row.get("code_sha256", ""), row.get("config_sha256", ""), tuple(row.get("trials", ()))


class History:
  """Commits of the repository at `base`, newest first."""

  def __init__(self, base: Path):
    self.base = base
    self._blobs: dict[str, dict[str, str]] = {}
    self._readings: dict[tuple[str, str], digest.Source] = {}

  @functools.cached_property
  def commits(self) -> tuple[str, ...]:
    """All commits that led to HEAD, newest first. Refused where there is no repository."""
    return tuple(self._git("rev-list", "HEAD").decode().split())

  def commit(self, name: str) -> str:
    """The full name of a commit that someone gave by tag, branch or the beginning of its hash."""
    try:
      found = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").decode().strip()
    except Refused:
      raise Refused(f"--since={name} is no commit of this repository; give a hash, a tag or a branch") from None
    if found not in self.commits:
      raise Refused(f"--since={name} did not lead to today's HEAD; give a commit of its history (git log)")
    return found

  def blobs(self, commit: str) -> dict[str, str]:
    """Path -> blob of every file of a commit."""
    if commit not in self._blobs:
      listed = self._git("ls-tree", "-r", "-z", "--full-tree", commit).decode().split("\0")
      entries = [line.partition("\t") for line in listed if line]
      self._blobs[commit] = {path: head.split()[2] for head, _, path in entries}
    return self._blobs[commit]

  def said_otherwise(self, commit: str) -> bool:
    """Whether the commit is from before the words of moved.WORDS were changed, all at once with one file's name."""
    return moved.path_before("model/mask.py") in self.blobs(commit)

  def reading(self, commit: str, path: str) -> digest.Source | None:
    """The file of that commit, wherever it lay then, as today's `digest` reads it.

    None where it has none. SyntaxError for no Python.
    """
    blob = self._blob(commit, path)
    if blob is None:
      return None
    if (blob, path) not in self._readings:
      self._readings[blob, path] = digest.parse(self._git("cat-file", "blob", blob), path)
    return self._readings[blob, path]

  def text(self, commit: str, path: str) -> bytes | None:
    """The bytes of a file of that commit, wherever it lay then; None where it has none."""
    blob = self._blob(commit, path)
    return None if blob is None else self._git("cat-file", "blob", blob)

  def _blob(self, commit: str, path: str) -> str | None:
    """The file's blob in a commit, under today's path or the one before it."""
    held = self.blobs(commit)
    return held.get(path) or held.get(moved.path_before(path))

  @functools.cached_property
  def rows(self) -> list[tuple[int, dict[tuple[str, str, str], Stamped]]]:
    """Of each commit that touched the ledger, newest first: its place in `commits`, and the stamps of its rows."""
    found = []
    places = {commit: place for place, commit in enumerate(self.commits)}
    for commit in self._git("rev-list", "HEAD", "--", *LEDGER).decode().split():
      held = {}
      for line in next(filter(None, (self.text(commit, path) for path in LEDGER)), b"").decode().splitlines():
        row = json.loads(line)
        held[row["id"], row["tier"], row["device"]] = stamped(row)
      found.append((places[commit], held))
    return found

  def committed(self, row: Mapping[str, Any]) -> int:
    """The place in `commits` of the oldest commit since which the row has stood with this stamp; 0 where it is new."""
    place, key = 0, (row["id"], row["tier"], row["device"])
    for at, held in self.rows:
      if held.get(key) != stamped(row):
        break
      place = at
    return place

  def copy(self, commit: str, folder: Path) -> None:
    """Writes the tree of a commit into a new folder, outside of the repository: git need not know or clean it up."""
    packed = self._git("archive", "--format=tar", commit)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
      archive.extractall(folder, filter="data")

  def _git(self, *arguments: str) -> bytes:
    try:
      done = subprocess.run(["git", "-C", str(self.base), *arguments], capture_output=True, check=False)
    except FileNotFoundError:
      raise Refused("`assay ledger prove` needs git, which is not installed") from None
    if done.returncode:
      told = " ".join(done.stderr.decode(errors="replace").split())[:200]
      raise Refused(f"`assay ledger prove` needs the history of the repository at {self.base}: git said: {told}")
    return done.stdout
