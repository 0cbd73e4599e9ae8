"""A pack trains on the accelerator as it does on the CPU, side by side and alone."""

import jax
import pytest

from model import build
from tests import device
from train import mesh, step

pytestmark = pytest.mark.gpu
STEPS = 4
CONFIG = {
  "seed": 0,
  "model": {"kind": "bert", "width": 16, "heads": 2, "depth": 1},
  "task": {"kind": "recall", "pairs": 3, "keys": 4, "values": 4, "queries": 2, "relations": 1},
  "optim": {
    "kind": "adam",
    "lr": 1e-2,
    "b1": 0.9,
    "b2": 0.98,
    "weight_decay": 0.0,
    "clip": 1.0,
    "label_smoothing": 0.0,
    "schedule": {"kind": "constant", "warmup": 0, "rate": 4.0},
  },
  "train": {"steps": STEPS, "batch": 8, "compute": "float32"},
  "eval": {"every": STEPS, "batches": 1, "batch": 8, "split": "validation", "judge": False},
}


@pytest.mark.parametrize("members", [1, 3])
def test_losses_and_gradient_norms_agree_with_the_cpu(members):
  config = {**CONFIG, "model": build.complete(CONFIG["model"])}
  configs = [{**config, "seed": seed} for seed in range(members)]
  task = build.make("tasks", config["task"], package="train")

  def trained():
    side_by_side = mesh.make() if jax.default_backend() == "cpu" and members > 1 else None
    whole = step.Ensemble(config, task, mesh=side_by_side)
    _, losses_Ek, norms_Ek = whole.advance(whole.init(configs), whole.members(configs), ())
    return losses_Ek, norms_Ek

  device.agree(trained, tolerance=1e-3)
