"""How far apart the subspaces lie in which heads compare tokens: principal angles of span W_Q^i, and of span W_K^i.

cos(angle) = singular values of Q_i^T Q_j with orthonormal bases Q (Bjorck & Golub 1973). Cordonnier et al. 2020 find
that heads share such directions.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.probes import recording
from experiments.probes.subject import Subject

KEYS = (
  "angle",
  "angle_smallest",
  "angle_random",
  "distance",
  "used",
  "angle_untrained",
  "angle_smallest_untrained",
  "distance_untrained",
  "used_untrained",
)


def read(subject: Subject) -> dict[str, float]:
  """Means over layers and pairs of heads; nothing where no layer has two heads.

  angle: mean principal angle in degrees, over queries' and keys' subspaces; angle_smallest: the mean of each pair's
  smallest. distance: (1 - mean cos^2) over what random subspaces of this width have: 0 = equal, 1 = as far apart as
  random ones. used: alike (1) or not (0) are the matrices W_Q W_K^T themselves, large directions counting most.
  "_untrained": before the first step; angle_random: the mean angle of random subspaces.
  """
  graph, state = recording.split(subject.model)
  if max(recording.count(subject.model).values()) < 2:
    return {}
  numbers = recording.average([_numbers(graph, state)])
  before = recording.average([_numbers(*recording.split(subject.untrained))])
  return numbers | {f"{name}_untrained": value for name, value in before.items() if name != "angle_random"}


@partial(jax.jit, static_argnums=0)
def _numbers(graph, state) -> dict[str, jax.Array]:
  found = [layer(*matrices(heads)) for heads in recording.places(nnx.merge(graph, state)).values()]
  found = [numbers for numbers in found if numbers]
  return {name: jnp.stack([numbers[name] for numbers in found]).mean() for name in found[0]}


def matrices(heads) -> tuple[jax.Array, jax.Array]:
  """Query and key matrices of every head, (H, M, D) each; heads of one group share their keys."""
  query_MKGD = heads.query[...]
  M, K, G, D = query_MKGD.shape
  key_MKD = heads.key[...] if hasattr(heads, "key") else query_MKGD[:, :, 0]
  key_MKGD = jnp.broadcast_to(key_MKD[:, :, None], (M, K, G, D))
  query_HMD, key_HMD = (jnp.moveaxis(matrix.reshape(M, K * G, D), 1, 0) for matrix in (query_MKGD, key_MKGD))
  return query_HMD, key_HMD


def layer(query_HMD: jax.Array, key_HMD: jax.Array) -> dict[str, jax.Array]:
  """The numbers of one layer; empty for a single head."""
  H, M, D = query_HMD.shape
  if H < 2:
    return {}
  first, second = np.triu_indices(H, 1)
  cosines_2PD = jnp.stack([cosines(matrix_HMD, first, second) for matrix_HMD in (query_HMD, key_HMD)])
  random_2MD = jax.random.normal(jax.random.key(0), (64, M, D))
  random_PD = cosines(random_2MD, np.arange(0, 64, 2), np.arange(1, 64, 2))
  scores_HMM = jnp.einsum("hmd,hnd->hmn", query_HMD, key_HMD)
  scores_HMM /= jnp.linalg.norm(scores_HMM, axis=(1, 2), keepdims=True)
  alike_HH = jnp.abs(jnp.einsum("hmn,gmn->hg", scores_HMM, scores_HMM))
  return {
    "angle": _degrees(cosines_2PD).mean(),
    "angle_smallest": _degrees(cosines_2PD.max(-1)).mean(),
    "angle_random": _degrees(random_PD).mean(),
    "distance": (1 - jnp.square(cosines_2PD).mean()) / jnp.maximum(1 - jnp.square(random_PD).mean(), 1e-6),
    "used": alike_HH[first, second].mean(),
  }


def cosines(matrix_HMD: jax.Array, first, second) -> jax.Array:
  """Cosines of the principal angles between the column spaces of pairs of matrices, (P, D), largest first."""
  basis_HMD = jnp.linalg.qr(matrix_HMD)[0]
  products_PDD = jnp.einsum("pmd,pme->pde", basis_HMD[first], basis_HMD[second])
  return jnp.clip(jnp.linalg.svd(products_PDD, compute_uv=False), 0.0, 1.0)


def _degrees(cosine):
  return jnp.degrees(jnp.arccos(cosine))
