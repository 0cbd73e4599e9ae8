"""The same language model and training step by PyTorch, as its users write it: fused projections, attention and Adam.

Pre-norm blocks of causal self-attention and gelu, sinusoids added to the embeddings, cross-entropy, clipped Adam.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from model.errors import Refused
from model.position.sinusoidal import waves

Params = Mapping[str, np.ndarray]  # by path, as "decoder/layers/0/attention/query"

WANTED = {  # what the model below is
  "kind": "gpt",
  "attention": {"kind": "dot", "learned": False, "scale": None},
  "position": {"kind": "sinusoidal", "base": 10000.0},
  "projections": "qkvo",
  "tie": "none",
  "bias": False,
  "itself": True,
  "window": 0,
  "segment": 0,
  "kv_heads": 0,
  "head_dim": 0,
  "value_dim": 0,
  "dropout": 0.0,
}


def check(config: Mapping[str, Any]) -> None:
  """Refuses a configuration that the model below does not compute."""
  found = {name: config["model"][name] for name in WANTED} | {"feedforward": config["model"]["feedforward"]["kind"]}
  wanted = WANTED | {"feedforward": "gelu"}
  wiring, optim = config["model"]["wiring"], config["optim"]
  found |= {name: wiring[name] for name in ("norm", "residual", "order")} | {"optim": optim["kind"]}
  wanted |= {"norm": "pre", "residual": True, "order": "af", "optim": "adam"}
  found |= {"schedule": optim["schedule"]["kind"], "label_smoothing": optim["label_smoothing"]}
  wanted |= {"schedule": "constant", "label_smoothing": 0.0}
  for name, value in wanted.items():
    if found[name] != value:
      raise Refused(f"the PyTorch side knows only {name}={value!r}, not {found[name]!r}; prepare the step's file again")


def build(config: Mapping[str, Any], params: Params, device: str) -> Any:
  """A torch.nn.Module with these parameters, tokens (B, T) -> logits (B, T, V)."""
  import torch
  from torch import nn
  from torch.nn import functional

  settings, length = config["model"], config["task"]["length"]
  width, heads, hidden = settings["width"], settings["heads"], params["decoder/layers/0/feedforward/up/bias"].size
  eps = settings["wiring"]["eps"]

  class Layer(nn.Module):
    def __init__(self):
      super().__init__()
      self.attention_norm, self.feedforward_norm = (nn.LayerNorm(width, eps=eps) for _ in range(2))
      self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
      self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x_BTM):
      qkv = self.qkv(self.attention_norm(x_BTM)).view(*x_BTM.shape[:2], 3, heads, -1)
      q_BHTD, k_BHTD, v_BHTD = qkv.permute(2, 0, 3, 1, 4)
      out_BHTD = functional.scaled_dot_product_attention(q_BHTD, k_BHTD, v_BHTD, is_causal=True)
      x_BTM = x_BTM + self.out(out_BHTD.transpose(1, 2).reshape(x_BTM.shape))
      return x_BTM + self.down(functional.gelu(self.up(self.feedforward_norm(x_BTM))))

  class Gpt(nn.Module):
    def __init__(self):
      super().__init__()
      self.embedding = nn.Embedding(*params["embedding/tables/0"].shape)
      self.layers = nn.ModuleList(Layer() for _ in range(settings["depth"]))
      self.norm = nn.LayerNorm(width, eps=eps)
      self.readout = nn.Linear(*params["readout/kernel"].shape)
      sinusoids_TM = np.array(waves(np.arange(length)[None], width)[0])
      self.register_buffer("sinusoids_TM", torch.from_numpy(sinusoids_TM))

    def forward(self, tokens_BT):
      x_BTM = self.embedding(tokens_BT) + self.sinusoids_TM
      for layer in self.layers:
        x_BTM = layer(x_BTM)
      return self.readout(self.norm(x_BTM))

  model = Gpt()
  _fill(model, params)
  return model.to(device)


def _fill(model: Any, params: Params) -> None:
  """Copies our parameters; every one of them has a place, or it is Refused."""
  import torch

  left = dict(params)

  def take(path: str, turned: bool = False) -> np.ndarray:
    value = left.pop(path)
    return value.T if turned else value

  def affine(path: str, turned: bool = True) -> list[np.ndarray]:
    return [take(f"{path}/kernel", turned), take(f"{path}/bias")]

  def norm(path: str) -> list[np.ndarray]:
    return [take(f"{path}/gain"), take(f"{path}/bias")]

  def put(targets, values) -> None:
    with torch.no_grad():
      for target, value in zip(targets, values, strict=True):
        target.copy_(torch.from_numpy(np.array(value, np.float32)))

  put([model.embedding.weight], [take("embedding/tables/0")])
  for index, layer in enumerate(model.layers):
    path = f"decoder/layers/{index}"
    width = layer.out.weight.shape[0]
    parts = [take(f"{path}/attention/{name}").reshape(width, width).T for name in ("query", "key", "value")]
    put([layer.qkv.weight], [np.concatenate(parts)])
    put([layer.out.weight], [take(f"{path}/attention/out").reshape(width, width).T])
    for name in ("attention_norm", "feedforward_norm"):
      put([getattr(layer, name).weight, getattr(layer, name).bias], norm(f"{path}/{name}"))
    for name in ("up", "down"):
      put([getattr(layer, name).weight, getattr(layer, name).bias], affine(f"{path}/feedforward/{name}"))
  put([model.norm.weight, model.norm.bias], norm("decoder/norm"))
  put([model.readout.weight, model.readout.bias], affine("readout"))
  if left:
    raise Refused(f"the PyTorch side has no place for {', '.join(sorted(left))}; prepare the step's file again")


class Step:
  """`steps` training steps per call on one batch; a call waits for the device and returns the losses.

  `forward` is the model, or what torch.compile made of it.
  """

  def __init__(self, config: Mapping[str, Any], model: Any, forward: Any, tokens_BT: Any, targets_BT: Any):
    import torch

    optim = config["optim"]
    fused = tokens_BT.device.type == "cuda"
    betas = (optim["b1"], optim["b2"])
    self.optimizer = torch.optim.Adam(model.parameters(), lr=optim["lr"], betas=betas, eps=1e-8, fused=fused)
    self.model, self.forward, self.tokens_BT, self.targets_BT = model, forward, tokens_BT, targets_BT
    self.clip, self.steps = optim["clip"], config["eval"]["every"]
    self.half = config["train"]["compute"] == "bfloat16"

  def __call__(self) -> np.ndarray:
    import torch

    losses = torch.stack([self._one() for _ in range(self.steps)])
    return losses.cpu().numpy()  # waits for all that came before

  def _one(self) -> Any:
    import torch
    from torch.nn import functional

    self.optimizer.zero_grad(set_to_none=True)
    with torch.autocast(self.tokens_BT.device.type, torch.bfloat16, enabled=self.half):
      logits_BTV = self.forward(self.tokens_BT)
    loss = functional.cross_entropy(logits_BTV.float().flatten(0, 1), self.targets_BT.flatten())
    loss.backward()
    if self.clip > 0:
      torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
    self.optimizer.step()
    return loss.detach()
