"""What the size of query-key products does to the softmax: Var(q.k) = d_k for independent unit entries.

Its Jacobian is diag(a) - a a^T (Vaswani et al. 2017, 3.2.1 and footnote 4). A unit is one seed. Sizes
that span decades are told as powers of two, so that a difference is a ratio and a slope an exponent.
"""

import itertools
from functools import cache, partial

import jax
import numpy as np
from flax import nnx

from experiments.claims.grid import Samples, entropy, softmax
from model import initial
from model.heads import Heads

SEEDS = range(12)
WIDTHS = (8, 32, 128, 512, 1024)
KEYS = 16
MODEL_WIDTH = 64
SCHEMES = ("lecun", "torch", "torch_mha", "glorot", "gpt2")


def variance() -> Samples:
  """SCALE-1: relative error of Var(q.k) = d_k, for normal and for uniform entries of variance 1."""
  samples = Samples()
  for seed in SEEDS:
    random = np.random.default_rng([1, seed])
    draws = {"normal": random.standard_normal, "uniform": partial(_uniform, random)}
    for (kind, draw), width in itertools.product(draws.items(), WIDTHS):
      q_ND, k_ND = (draw((1024, width), dtype=np.float32) for _ in range(2))
      square = float(np.square(q_ND @ k_ND.T, dtype=np.float64).mean())
      samples.add(**{f"{kind} entries, {width}": square / width - 1})
      samples.add(**{f"{kind} entries, {width}, scaled": square / width**2 - 1})
  return samples


def _uniform(random, shape, dtype):
  return (random.random(shape, dtype=dtype) - dtype(0.5)) * dtype(12**0.5)


def initialization() -> Samples:
  """SCALE-1b: log2 Var(q.k) on normalized inputs under each scheme, and its distance from d_k (D sigma^2)^2."""
  samples = Samples()
  widths = (8, 64, 512)
  for scheme in SCHEMES:
    found_LN = np.log2([_variances(scheme, width) for width in widths])
    formula_L = np.log2([_formula(scheme, width) for width in widths])
    for variance_N in found_LN.T:
      per_width = {f"log2 variance, {scheme}, {width}": v for width, v in zip(widths, variance_N, strict=True)}
      samples.add(
        **per_width,
        **{f"log2 of measured over formula, {scheme}": np.mean(variance_N - formula_L)},
        **{f"log2 of measured over key width, {scheme}": np.mean(variance_N - np.log2(widths))},
      )
  return samples


def _formula(scheme: str, width: int) -> float:
  D = MODEL_WIDTH
  fan_in = {"lecun": 1.0, "torch": 1 / 3, "torch_mha": 1 / 2}
  share = fan_in.get(scheme) or {"glorot": 2 * D / (D + width), "gpt2": D * 0.02**2}[scheme]
  return width * share**2


def _variances(scheme: str, width: int) -> np.ndarray:
  """Var(q.k) by seed, over two draws of the projections of a real layer and all pairs of 128 tokens."""
  heads = nnx.eval_shape(partial(Heads, MODEL_WIDTH, heads=1, head_dim=width, value_dim=1, mechanism={"kind": "dot"}))
  params = nnx.state(heads, _makes_scores)
  found = []
  for seed in SEEDS:
    random = np.random.default_rng([5, seed])
    x_TM, y_SM = (_normalized(random.standard_normal((128, MODEL_WIDTH), dtype=np.float32)) for _ in range(2))
    squares = []
    for key in jax.random.split(jax.random.key(seed)):
      drawn = initial.draw(params, key, {"kind": "lecun", "qk": scheme})
      q_TD = x_TM @ np.asarray(drawn["query"]).reshape(MODEL_WIDTH, width)
      k_SD = y_SM @ np.asarray(drawn["key"]).reshape(MODEL_WIDTH, width)
      squares.append(np.square(q_TD @ k_SD.T, dtype=np.float64).mean())
    found.append(np.mean(squares))
  return np.array(found)


def _makes_scores(path, variable) -> bool:
  """Picks the two projections whose product is a score."""
  return isinstance(variable, nnx.Param) and path[-1] in ("query", "key")


def _normalized(x_TM):
  x_TM = x_TM - x_TM.mean(-1, keepdims=True)
  return x_TM / x_TM.std(-1, keepdims=True)


def saturation() -> Samples:
  """SCALE-2, SCALE-3: entropy and Jacobian norm of the softmax over 16 scores, by key width, with and without scale."""
  samples = Samples()
  for seed in SEEDS:
    random = np.random.default_rng([2, seed])
    q_TD = random.standard_normal((512, WIDTHS[-1]), dtype=np.float32)
    k_TSD = random.standard_normal((512, KEYS, WIDTHS[-1]), dtype=np.float32)
    for width in WIDTHS:
      score_TS = np.einsum("td,tsd->ts", q_TD[:, :width], k_TSD[:, :, :width])
      for name, factor in (("unscaled", 1.0), ("scaled", width**-0.5)):
        numbers = _spread(softmax(factor * score_TS.astype(np.float64)))
        samples.add(**{f"{measure}, {name}, {width}": number for measure, number in numbers.items()})
  return samples


def _spread(a_TS) -> dict[str, float]:
  norm_T = jacobian_norm(a_TS)
  return {
    "log2 median norm": _log2(np.median(norm_T)),
    "log2 99 % norm": _log2(np.quantile(norm_T, 0.99)),
    "share of norms below .001": float(np.mean(norm_T < 1e-3)),
    "entropy": float(entropy(a_TS).mean()),
  }


def jacobian_norm(a_TS: np.ndarray) -> np.ndarray:
  """Frobenius norm of diag(a) - a a^T for each row a, from sums over the other keys: nothing cancels near one-hot."""
  others_SS = 1.0 - np.eye(a_TS.shape[-1])
  own_TS, square_TS = a_TS * (a_TS @ others_SS), np.square(a_TS)
  return np.sqrt(np.square(own_TS).sum(-1) + (square_TS * (square_TS @ others_SS)).sum(-1))


def _log2(number) -> float:
  return float(np.log2(max(number, 1e-300)))


def gradients() -> Samples:
  """SCALE-5, SCALE-5b: log2 of |dL/dq| without over with scale, its mean, 99 % quantile and median over queries.

  Key width at model width 512, model width at key width 64, and both alike. Inputs are normalized, projections drawn
  by lecun, L is a random direction of the output.
  """
  samples = Samples()
  for seed, (name, sizes) in itertools.product(SEEDS, SIZES.items()):
    for width, (model, key) in sizes.items():
      ratios = _ratios(seed, model, key)
      samples.add(**{f"{measure} ratio, {name} {width}": ratio for measure, ratio in ratios.items()})
  return samples


@cache
def _ratios(seed: int, model: int, key: int) -> dict[str, float]:
  vectors = _projected(np.random.default_rng([3, seed, model, key]), model, key)
  unscaled, scaled = (_at_query(*vectors, scale) for scale in (1.0, key**-0.5))
  return {measure: _log2(of(unscaled)) - _log2(of(scaled)) for measure, of in STATISTICS.items()}


SIZES = {  # what grows: its size -> (model width, key width); no keys are wider than the model, as in real layers
  "key width": {8: (512, 8), 64: (512, 64), 512: (512, 512)},
  "model width": {64: (64, 64), 256: (256, 64), 1024: (1024, 64)},
  "both": {8: (8, 8), 64: (64, 64), 512: (512, 512)},
}
STATISTICS = {"mean": np.mean, "99 %": lambda norms: np.quantile(norms, 0.99), "median": np.median}


def _projected(random, model_width: int, key_width: int):
  """Queries, keys and u_ts = g_t . v_s of 32 sequences of 16 tokens; g is a random direction of the output."""
  normal = partial(random.standard_normal, dtype=np.float32)
  x_BTM = _normalized(normal((32, KEYS, model_width)))
  q_BTD, k_BSD, v_BSD = (x_BTM @ (normal((model_width, n)) * model_width**-0.5) for n in (key_width, key_width, 64))
  return q_BTD, k_BSD, (normal((32, KEYS, 64)) / 8) @ np.swapaxes(v_BSD, 1, 2)


def _at_query(q_BTD, k_BSD, u_BTS, scale: float) -> np.ndarray:
  """Norms (B, T) of dL/dq = scale sum_s a_s (u_s - sum_r a_r u_r) k_s."""
  a_BTS = softmax((scale * q_BTD @ np.swapaxes(k_BSD, 1, 2)).astype(np.float64))
  lift_BTS = a_BTS * (u_BTS - (a_BTS * u_BTS).sum(-1, keepdims=True))
  return scale * np.linalg.norm(lift_BTS @ k_BSD, axis=-1)


def derivation() -> Samples:
  """SCALE-7: each step of the derivation. Variance by enumeration, Jacobian by differentiation, and the bound

  |J| <= trace J = 1 - sum a^2 <= 2 (1 - max a), which sends the gradient to zero as one score leaves the others.
  """
  samples = Samples()
  for width in range(1, 7):
    vector_ND = np.array(list(itertools.product((-1, 1), repeat=width)))
    score_NN = vector_ND @ vector_ND.T
    samples.add(**{"error of the mean over all vectors of signs": score_NN.mean()})
    samples.add(**{"error of the variance over all vectors of signs": np.square(score_NN).mean() - width})
  differentiate = jax.jit(jax.vmap(jax.jacfwd(jax.nn.softmax)))
  for seed, spread in itertools.product(range(3), (0.3, 1.0, 5.0)):
    score_TS = spread * np.random.default_rng([4, seed]).standard_normal((64, KEYS)).astype(np.float32)
    found_TSS, a_TS = np.asarray(differentiate(score_TS)), softmax(score_TS.astype(np.float64))
    formula_TSS = a_TS[:, :, None] * (np.eye(KEYS) - a_TS[:, None, :])
    norm_T, trace_T = np.linalg.norm(formula_TSS, axis=(1, 2)), np.trace(formula_TSS, axis1=1, axis2=2)
    samples.add(
      **{"error of the Jacobian": np.abs(found_TSS - formula_TSS).max()},
      **{"norm over trace": (norm_T / trace_T).max()},
      **{"trace over twice the rest": (trace_T / (2 * (1 - a_TS.max(-1)))).max()},
    )
  return samples
