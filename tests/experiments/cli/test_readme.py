"""The README's examples are run, and what it names is there."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.protocol import catalog
from experiments.protocol.study import point
from model import mask
from model.build import make
from model.initial import realize

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()


def example(name: str) -> str:
  found = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", README, re.S)
  assert found, name
  return found.group(1)


def test_the_mechanism_works_as_a_file_of_ones_own(tmp_path):
  path = tmp_path / "mine.py"
  path.write_text(example("mechanism"))
  options = {"kind": f"{path}:Gaussian", "scale": 2.0}
  gaussian = realize(lambda: make("attention", options, heads=2, head_dim=4, layer=0))
  q_BTKGD = jax.random.normal(jax.random.key(0), (1, 3, 2, 1, 4))
  k_BSKD = jax.random.normal(jax.random.key(1), (1, 5, 2, 4))
  distance = ((np.asarray(q_BTKGD)[:, :, None] - np.asarray(k_BSKD)[:, None, :, :, None]) ** 2).sum(-1)
  expected = -2.0 * distance.transpose(0, 3, 4, 1, 2) / 4
  np.testing.assert_allclose(gaussian.scores(q_BTKGD, k_BSKD), expected, atol=1e-5)
  everything = mask.Mask(mask.rows(3), mask.rows(5), mask.everything())
  dense, blocks = (gaussian(q_BTKGD, k_BSKD, k_BSKD, everything, block=block)[0] for block in (None, 2))
  np.testing.assert_allclose(dense, blocks, atol=1e-5)


def test_the_claim_is_selected_and_its_points_resolve(tmp_path):
  path = tmp_path / "heads_help.py"
  path.write_text(example("claim"))
  (claim,) = catalog.select([str(path)])
  assert claim.tier_for("small") == "quick"
  plan = claim.experiment.study
  widths = {arm: point(plan, "quick", arm, lr=1e-2, seed=0, split="test")["model"]["heads"] for arm in plan.arms}
  assert widths == {"heads=1": 1, "heads=2": 2}


def test_the_lines_of_python_run(tmp_path, monkeypatch):
  monkeypatch.setenv("PYTHONPATH", str(ROOT))  # workers find the packages from any folder
  monkeypatch.chdir(tmp_path)
  names = {}
  exec(compile(example("python"), "README.md", "exec"), names)
  assert list(names["table"]["point"]) == ["lr=0.001", "lr=0.01"]
  assert len(names["figure"].axes) == 2
  assert names["answers"].shape == names["batch"].targets_BTR.shape
  assert names["weights"].shape[:2] == (2, 4)
  np.testing.assert_allclose(names["weights"].sum(-1), 1.0, atol=1e-5)
  assert list(names["done"]["optim.lr"]) == [0.01] * len(names["done"])
  assert len(names["done"]) >= 2


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^\$ (assay \w+)", README, re.M))))
def test_every_command_named_exists(command):
  done = subprocess.run(
    [sys.executable, "-m", "experiments.cli", command.split()[1], "--help"],
    cwd=ROOT,
    capture_output=True,
    check=False,
  )
  assert done.returncode == 0


def test_every_file_linked_is_there():
  for target in re.findall(r"\]\(([^)#]+)\)", README):
    if not target.startswith("http"):
      assert (ROOT / target).exists(), target
