"""Runs a notebook's code cells in order in one namespace, without jupyter.

    python -m tests.experiments.notebook experiments/notebooks/attention.ipynb

writes the outputs into the file: a figure as PNG, all else as text. What is printed is left out, and so are ids and
metadata that differ from run to run.
"""

import ast
import base64
import json
import sys
from pathlib import Path
from typing import Any


def read(path: Path) -> dict[str, Any]:
  """The notebook as its JSON says."""
  return json.loads(path.read_text(encoding="utf-8"))


def executed(notebook: dict[str, Any], names: dict[str, Any]) -> list[list[dict[str, Any]]]:
  """The outputs of every code cell, which share `names`; what a cell raises is raised."""
  found = []
  for number, cell in enumerate((cell for cell in notebook["cells"] if cell["cell_type"] == "code"), 1):
    value = _value("".join(cell["source"]), f"cell {number}", names)
    found.append([] if value is None else [_output(value, number)])
  return found


def _value(source: str, name: str, names: dict[str, Any]) -> Any:
  """What the last line of a cell is worth; None where it is no expression."""
  tree = ast.parse(source, name)
  last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
  exec(compile(tree, name, "exec"), names)
  return eval(compile(ast.Expression(last.value), name, "eval"), names) if isinstance(last, ast.Expr) else None


def _output(value: Any, number: int) -> dict[str, Any]:
  if hasattr(value, "_repr_png_"):
    data = {"image/png": base64.b64encode(value._repr_png_()).decode(), "text/plain": ["<figure>"]}
  else:
    text = value.to_string() if hasattr(value, "to_string") else str(value)  # a frame with all its columns
    data = {"text/plain": text.splitlines(keepends=True)}
  return {"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data}


def main(path: Path) -> None:
  """Runs the notebook and writes its outputs into it."""
  notebook = read(path)
  outputs = iter(executed(notebook, {"__name__": "__main__"}))
  for number, cell in enumerate((cell for cell in notebook["cells"] if cell["cell_type"] == "code"), 1):
    cell |= {"execution_count": number, "outputs": next(outputs)}
  path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
  main(Path(sys.argv[1]))
