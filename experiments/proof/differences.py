"""The first place where two values of plain JSON differ, in words; "" where they do not."""

from collections.abc import Mapping
from typing import Any

from experiments.record.atomic import canonical
from experiments.run.store import number


def first(old: Any, new: Any, path: str) -> str:
  """The first place where `new` is not what `old` says, in words; "" where all of `old` stands in `new`."""
  if isinstance(old, Mapping) and isinstance(new, Mapping):
    pairs = ((f"{path}.{name}", value, new.get(name)) for name, value in old.items())
  elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
    pairs = ((f"{path}[{index}]", *pair) for index, pair in enumerate(zip(old, new, strict=True)))
  else:
    same = canonical(_told(old)) == canonical(_told(new))
    return "" if same else f"{path} was {canonical(_told(old))[:80]} and is {canonical(_told(new))[:80]}"
  return next((found for name, one, other in pairs if (found := first(one, other, name))), "")


def _told(value: Any) -> Any:
  """Infinities and NaN as the ledger writes them."""
  value = number(value) if isinstance(value, str) else value
  return repr(value) if isinstance(value, float) else value


def first_in_tests(old: Any, new: Any, path: str = "test") -> str:
  """The first difference between two tests; a field that only the new one has may be there at its default."""
  if isinstance(old, Mapping) and isinstance(new, Mapping) and "default" in old and "default" in new:
    added = set(new["fields"]) - set(old["fields"]) - set(new["default"])
    if added or old["is"] != new["is"] or set(old["fields"]) - set(new["fields"]):
      return f"{path} was {old['is']}({', '.join(old['fields'])}) and is {new['is']}({', '.join(new['fields'])})"
    found = (first_in_tests(value, new["fields"][name], f"{path}.{name}") for name, value in old["fields"].items())
    return next(filter(None, found), "")
  if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
    return next(filter(None, (first_in_tests(*pair, path) for pair in zip(old, new, strict=True))), "")
  if isinstance(old, Mapping) and isinstance(new, Mapping) and old.keys() == new.keys():
    return next(filter(None, (first_in_tests(old[name], new[name], f"{path}.{name}") for name in old)), "")
  return "" if old == new else f"{path} was {old} and is {new}"
