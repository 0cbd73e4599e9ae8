"""Which commit made a row: the newest that holds its code, by today's reading of the files or by that commit's own."""

import contextlib
import functools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.ledger.ledger import Row
from experiments.proof.trees import Lab, Tree, Unproved
from experiments.record import digest, moved

OPTIONS = "experiments/worker/brief.py"
# What says how a tree reads its files; the last two were a part of the first one's reading in older trees.
READERS = ("experiments/record/digest.py", "experiments/record/sources.py", "experiments/sources.py")


class Made:
  """Finds the commits that hold the code of rows: by today's reading of their files, or by that commit's own."""

  def __init__(self, lab: Lab, rows: Sequence[Row], since: str):
    self.lab = lab
    self.since = lab.history.commit(since) if since else ""
    self._found: dict[tuple[tuple[str, ...], str], list[str]] = {}
    self._wanted = {_code(row) for row in rows if row["code_files"] and not row["stale"]}

  def order(self, row: Row) -> int:
    """Rows of one commit stand together, those without any first."""
    with contextlib.suppress(Unproved):
      return self.lab.history.commits.index(self.at(row)) + 1 if not self._called(row) else 0
    return 0

  @staticmethod
  def _called(row: Row) -> bool:
    """Whether the row is a check's or a table's, which needs no commit."""
    return not row["trials"] and row["nature"] != "measured"

  def at(self, row: Row) -> str:
    """The newest commit with the row's code that is no newer than the row itself. Unproved where there is none."""
    if self.since:
      return self.since
    matching = self._matching(row)
    if not matching:
      raise Unproved("no commit of this history has the code that made it; name one with --since=")
    return self._before(row, matching)[0]

  def forced(self, row: Row) -> bool:
    """Whether the commit was named by someone and does not have the code that the row is stamped with."""
    files, sha = _code(row)
    return bool(self.since) and sha not in self._named[files]

  @functools.cached_property
  def _named(self) -> dict[tuple[str, ...], set[str]]:
    """Of the commit that was named: the digests of every row's files, read once."""
    sets = sorted({files for files, _ in self._wanted})
    return dict(zip(sets, self._digests(self.since, sets), strict=True))

  def cover(self, row: Row, used: Sequence[str]) -> None:
    """Unproved when a file behind the trials is not in the row's digest and was changed while that digest stood.

    Not so for the choice of the compiler's options, which moves last digits: they are compared with those of the
    newest commit that the row can come from.
    """
    beside = sorted(set(used) - {*row["code_files"], OPTIONS, moved.path_before(OPTIONS)})
    if self.since or not beside:
      return
    possible = self._before(row, self._matching(row))
    for path in beside:
      if len({self.lab.history.reading(commit, path) for commit in possible}) > 1:
        raise Unproved(f"its digest left out {path}, which has changed while it stood; run it again, or use --since=")

  def _before(self, row: Row, matching: list[str]) -> list[str]:
    """The matching commits from the one on at which the row was committed; all, where none is so old."""
    places = {commit: place for place, commit in enumerate(self.lab.history.commits)}
    place = self.lab.history.committed(row)
    return [commit for commit in matching if places[commit] >= place] or matching

  def _matching(self, row: Row) -> list[str]:
    if _code(row) not in self._found:
      self._search()
    return self._found[_code(row)]

  def _search(self) -> None:
    """Reads every commit once for all rows together."""
    self._found = {wanted: [] for wanted in self._wanted}
    known: dict[Any, set[str]] = {}
    past = self.lab.history
    for commit in past.commits:
      blobs = past.blobs(commit)
      reader = tuple(blobs.get(path) or blobs.get(moved.path_before(path)) for path in READERS)
      states = {files: (reader, files, tuple(blobs.get(path) for path in files)) for files, _ in self._wanted}
      fresh = [files for files, state in states.items() if state not in known and None not in state[2]]
      if fresh:
        for files, digests in zip(fresh, self._digests(commit, fresh), strict=True):
          known[states[files]] = digests
      for files, sha in self._wanted:
        if sha in known.get(states[files], ()):
          self._found[files, sha].append(commit)

  def _digests(self, commit: str, sets: Sequence[tuple[str, ...]]) -> list[set[str]]:
    """What today's reading and the commit's own say of these lists of files."""
    self.lab.tell(f"  reading {commit[:10]}")
    folder = self.lab.folder / f"read-{commit}"
    self.lab.history.copy(commit, folder)
    try:
      found: list[set[str]] = [set() for _ in sets]
      for digests, files in zip(found, sets, strict=True):
        with contextlib.suppress(SyntaxError, FileNotFoundError):
          digests.add(digest.code_sha256(files, folder))
      if self._reader(folder) != self._reader(self.lab.base):
        tree = Tree(folder, self.lab.texts)
        with contextlib.suppress(Unproved), contextlib.closing(tree):
          for digests, own in zip(found, tree.ask({"op": "code", "files": sets})["code"], strict=True):
            digests.add(own)
      return found
    finally:
      shutil.rmtree(folder)

  @staticmethod
  def _reader(root: Path) -> list[bytes | None]:
    places = ((root / path, root / moved.path_before(path)) for path in READERS)
    return [next((path.read_bytes() for path in pair if path.is_file()), None) for pair in places]


def _code(row: Row) -> tuple[tuple[str, ...], str]:
  return tuple(row["code_files"]), row["code_sha256"]
