"""A trained model as api.load gives it: what it predicts, attends to and generates. Its first answer imports jax."""

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.values import whole
from experiments.run.signals import verb
from model.errors import Refused

if TYPE_CHECKING:
  import numpy as np

  from experiments.pages.attention import Attention
  from experiments.worker.trained import Restored
  from model.language import Inputs
  from train.tasks.task import Batch


@dataclasses.dataclass(frozen=True, repr=False)
class Model:
  """A trained model. Inputs are model.language.Inputs, or rows of symbols such as [[3, 1, 2], [5, 4]]."""

  workdir: Path
  trial: str
  restored: "Restored"

  @property
  def config(self) -> Mapping[str, Any]:
    """The resolved config of the run."""
    return self.restored.config

  @property
  def step(self) -> int:
    """Training steps behind it."""
    return self.restored.step

  @property
  def task(self) -> Any:
    """The task it was trained on (train/tasks/task.py)."""
    return self.restored.task

  @property
  def module(self) -> Any:
    """The flax.nnx module itself."""
    return self.restored.model

  @functools.cached_property
  def params(self) -> "dict[str, np.ndarray]":
    """Every trained array by its path."""
    from experiments.worker import trained

    return trained.parameters(self.restored)

  @verb
  def examples(self, size: int = 4, *, seed: int = 0, split: str = "test") -> "Batch":
    """A batch of its task: inputs, targets (B, T, R), weights and slices; the same for the same seed."""
    from experiments.worker import trained

    whole("size", size, 1)
    return trained.examples(self.restored, size, whole("seed", seed, 0), split)

  @verb
  def predict(self, inputs: "Inputs | Iterable", *, source: Iterable | None = None) -> "np.ndarray":
    """Logits (B, T, R, V) in float32. source: rows of symbols that an encoder-decoder reads."""
    from experiments.worker import trained

    return trained.logits(self.restored, trained.inputs_of(self.restored, inputs, source))

  @verb
  def attention(self, inputs: "Inputs | Iterable", *, source: Iterable | None = None) -> "Attention":
    """Attention weights (B, H, T, S) of every place, by its name ("encoder/0"), with the tokens."""
    import numpy as np

    from experiments.pages.attention import Attention
    from experiments.worker import trained

    given = trained.inputs_of(self.restored, inputs, source)
    tokens_BTC, source_BSC = np.asarray(given.tokens_BTC), given.source_BSC
    there_BT = np.broadcast_to(np.asarray(given.positions.segment_BT) > 0, tokens_BTC.shape[:2])
    weights = trained.weights(self.restored, given)
    if source_BSC is None or given.source_positions is None:
      return Attention(weights, tokens_BTC, there_BT, spelled=trained.spelled(self.task))
    source_BSC = np.asarray(source_BSC)
    source_there_BS = np.broadcast_to(np.asarray(given.source_positions.segment_BT) > 0, source_BSC.shape[:2])
    return Attention(weights, tokens_BTC, there_BT, source_BSC, source_there_BS)

  @verb
  def generate(
    self,
    inputs: "Inputs | Iterable",
    length: int,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    stop: int | str | None = "task",
  ) -> "np.ndarray | str | list[str]":
    """Symbols (B, length) that follow a prompt, or that answer a source; a text for a text, texts for texts.

    Args:
      inputs: the prompt; for an encoder-decoder the source (of Inputs their source).
      length: how many symbols.
      temperature: 0 takes the most probable symbol, above 0 draws from softmax(logits / temperature).
      seed: of the draws; the same seed gives the same symbols, a longer answer begins like a shorter one.
      stop: the symbol after whose first a row holds stops; None for none, "task" for the task's own, if it has one.
    """
    from experiments.worker import trained

    if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not 0 <= temperature < math.inf:
      raise Refused(f"temperature={temperature!r}; allowed: 0 for the most probable symbols, or a number above")
    whole("length", length, 1)
    end = self.task.stop if stop == "task" else stop
    if end is not None:
      whole("stop", end, 0)
    options = {"temperature": float(temperature), "seed": whole("seed", seed, 0), "stop": end}
    found = trained.generated(self.restored, inputs, length, **options)
    if isinstance(inputs, str):
      return self.task.decode(found[0])
    if isinstance(inputs, list | tuple) and inputs and isinstance(inputs[0], str):
      return [self.task.decode(row) for row in found]
    return found

  def __repr__(self) -> str:
    model = self.config["model"]
    stale = f", trained by other code ({', '.join(self.restored.stale)} changed)" if self.restored.stale else ""
    return f"Model({model['kind']}, attention {model['attention']['kind']}, step {self.step}, {self.workdir}{stale})"
