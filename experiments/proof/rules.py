"""Whether the protocol that was calibrated is today's, after its files have moved or been written anew."""

from collections.abc import Mapping
from typing import Any

from experiments.proof import hosts
from experiments.proof.history import History
from experiments.protocol import calibration
from experiments.record import digest, moved


def renewed(document: Mapping[str, Any], history: History) -> tuple[dict[str, Any] | None, str]:
  """The calibration with today's stamp, or None and why it must run again."""
  commit = _made(document["code_sha256"], history)
  if not commit:
    return None, "no commit of this history has the rules that were calibrated"
  for path in calibration.RULES:
    if changed := hosts.changed(history.text(commit, path), (digest.root() / path).read_bytes(), path):
      return None, f"{changed[0]} of {path} has changed since {commit[:10]}"
  proof = {"since": commit, "files": len(calibration.RULES)}
  return {**document, "code_sha256": calibration.rules(), "proof": proof}, ""


def _made(sha256: str, history: History) -> str:
  """The newest commit with the rules of this digest, "" where there is none."""
  seen = set()
  for commit in history.commits:
    blobs = history.blobs(commit)
    places = [path if path in blobs else moved.path_before(path) for path in calibration.RULES]
    state = tuple(blobs.get(path) for path in places)
    if None in state or state in seen:
      continue
    seen.add(state)
    readings = [history.reading(commit, path) for path in calibration.RULES]
    texts = {place: reading.text for place, reading in zip(places, readings, strict=True) if reading is not None}
    if digest.of_texts(texts) == sha256:
      return commit
  return ""
