"""All claims, in the order of the documents: one folder of experiments/claims per group, found on the disk.

Documents: D0 quiz, D1 flash cards, D2a and D2b two lists of answers, D3 study guide, D4a and D4b interview answers.
"""

import functools
import importlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from configs import slots
from experiments import claims
from experiments.protocol.claim import Claim
from model.errors import Refused

ID = re.compile(r"[A-Z0-9]+-[A-Z0-9]+[a-z]?")
DOCUMENTS = ("D0", "D1", "D2", "D3", "D4", "extension")  # an extension is a further question of our own
LONGEST = 30  # words of a statement

# Every place that a claim can come from, in order.
PLACES = (
  *(f"D0-{item}" for item in range(1, 6)),
  *(f"D1-{question}" for question in range(1, 23)),
  *(f"D2a-{question}" for question in range(1, 11)),
  *(f"D2b-{question}" for question in range(1, 13)),
  "D3-definition",
  *(f"D3-fact-{fact}" for fact in range(1, 6)),
  *(f"D3-answer-{answer}" for answer in range(1, 4)),
  *(f"D4a-{question}" for question in range(1, 5)),
  *(f"D4b-{question}" for question in range(1, 4)),
)

# Where the documents disagree with each other: claims of one side, claims of the other, what they disagree on.
DISAGREEMENTS = (
  (("MECH-5",), ("SCALE-8",), "scores divided by the root of the key width, or not"),
  (("HEAD-17",), ("HEAD-4a", "HEAD-4b"), "several heads: efficient, or costly"),
  (("HEAD-7a",), ("HEAD-11",), "several heads: essential, or a number to tune"),
  (("OPT-1",), ("OPT-7",), "the learning rate first rises, or only falls"),
  (("ADD-1",), ("ADD-2",), "dot-product attention for its speed, or as costly as additive"),
  (("NORM-5",), ("NORM-2", "NORM-3"), "the norm stands after the sublayer, and yet steadies gradients and training"),
  (("POS-2",), ("POS-3",), "positions tell the order of tokens, or their distances"),
  (("ADD-3",), ("ADD-2",), "additive scores: quadratic in the key width, or as costly as dot"),
  (("ADD-4",), ("ADD-5", "ADD-6a", "ADD-6b"), "wide keys favor additive attention, or dot is usually better"),
  (("SCALE-2",), ("SCALE-5",), "unscaled gradients vanish, or explode"),
  (("RNN-5",), ("CTX-1",), "efficient on long sequences, or quadratic in their length"),
  (("RNN-7a",), ("CTX-3",), "who has the fixed context: recurrent networks, or Transformers"),
  (("MECH-15",), ("GB-5",), "a Transformer is encoder and decoder, or either of them alone"),
)

_own: dict[str, Claim] = {}  # claims of users' files, once selected
_files: dict[str, Path] = {}  # and the file of each


@functools.cache
def all_claims() -> tuple[Claim, ...]:
  """Every claim of ours: by document (extensions last), then place, then id."""
  return tuple(sorted((claim for folder in _folders() for claim in _of_folder(folder)), key=_order))


@functools.cache
def _folders() -> tuple[str, ...]:
  return tuple(path.parent.name for path in Path(claims.__file__).parent.glob("*/__init__.py"))


@functools.cache
def _of_folder(folder: str) -> tuple[Claim, ...]:
  return tuple(sorted(importlib.import_module(f"{claims.__name__}.{folder}").CLAIMS, key=_order))


def _near(name: str) -> tuple[Claim, ...]:
  """Every claim whose id or group can be this name: users' and one group of ours, so that no other is imported."""
  folder = name.partition("-")[0].lower()
  return (*(_of_folder(folder) if folder in _folders() else ()), *_own.values())


def by_id(identifier: str) -> Claim:
  """The claim with this id, one of ours or of a file selected before; Refused with a suggestion if there is none."""
  found = next((claim for claim in _near(identifier) if claim.id == identifier), None)
  if found is None:
    raise Refused(_unknown(identifier, (claim.id for claim in (*all_claims(), *_own.values()))))
  return found


def group(name: str) -> tuple[Claim, ...]:
  """The claims of a group ("HEAD"), in document order; Refused with a suggestion if there is none."""
  found = tuple(claim for claim in _near(name) if claim.group == name)
  if not found:
    raise Refused(_unknown(name, groups()))
  return found


def groups() -> tuple[str, ...]:
  """The names of all groups, in the order in which the documents come to them."""
  return tuple(dict.fromkeys(claim.group for claim in all_claims()))


def contradictions() -> list[tuple[str, str, str]]:
  """Pairs of claims that cannot both be right, and what they disagree on."""
  pairs = ((itertools.product(one, other), subject) for one, other, subject in DISAGREEMENTS)
  return [(a, b, subject) for product, subject in pairs for a, b in product]


def select(names: Iterable[str]) -> list[Claim]:
  """Claims by id ("MECH-11a"), id without its part ("MECH-11"), group ("HEAD") or file (path/to/mine.py).

  Ours come in document order, each once, then those of files; without any name, all of ours. Case does not matter.
  """
  names = list(names)
  chosen: dict[str, Claim] = {}
  for name in names:
    for claim in _named(name):
      chosen[claim.id] = claim
  ours = sorted((claim for claim in chosen.values() if claim.id not in _own), key=_order) if names else [*all_claims()]
  return ours + [claim for claim in chosen.values() if claim.id in _own]


def own() -> Mapping[str, Claim]:
  """The claims of users' files, by id, as far as they were selected."""
  return _own


class NoClaims(Refused):
  """A file that states no claims, though it may hold other things."""


def of_other_files(path: Path) -> list[Claim]:
  """The claims of users' files other than this one."""
  return [claim for claim in _own.values() if _files.get(claim.id) != path]


def remember(claim: Claim, path: Path, name: str) -> None:
  """Takes a user's claim in; the same file may be read again, another one may not use its id."""
  if claim.id in {other.id for other in of_other_files(path)}:
    raise Refused(f"{name}: {claim.id}: id is that of a claim of {_files.get(claim.id)}; give each its own")
  _own[claim.id], _files[claim.id] = claim, path


def _named(name: str) -> Sequence[Claim]:
  if name.endswith(".py") or "/" in name:
    from experiments.protocol import claim_files  # which reads what stands here

    return claim_files.load(name)
  wanted = name.lower()
  for match in (lambda c: c.id.lower(), lambda c: re.sub("[a-z]$", "", c.id).lower(), lambda c: c.group.lower()):
    found = [claim for claim in _near(name) if match(claim) == wanted]
    if found:
      return found
  known = (*all_claims(), *_own.values())
  raise Refused(_unknown(name, [*groups(), *(claim.id for claim in known)]))


def _unknown(name: str, known: Iterable[str]) -> str:
  hint = slots.suggestion(name.upper(), known)
  return f"no claim or group {name!r}; {hint}`assay list claims` shows all, groups are {', '.join(groups())}"


def _order(claim: Claim) -> tuple:
  place = claim.place.split("; ")[0]
  number = re.findall(r"\d+|\D+", claim.id.split("-", 1)[1])
  natural = [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in number]
  return DOCUMENTS.index(claim.document), PLACES.index(place), claim.group, natural
