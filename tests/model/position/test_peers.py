"""Rotary, ALiBi and T5 positions against Transformers."""

import numpy as np
import pytest

from model.mask import Positions, rows
from model.position.alibi import slopes
from tests.model.position.test_relative import random, scheme

pytestmark = pytest.mark.peer


@pytest.fixture
def torch():
  return pytest.importorskip("torch")


def test_rope_equals_llama(torch):
  llama = pytest.importorskip("transformers.models.llama.modeling_llama")
  x, pos_BT = random(2, 6, 3, 8), np.array([[0, 1, 2, 3, 4, 5], [7, 8, 30, 31, 500, 501]])
  config = llama.LlamaConfig(hidden_size=24, num_attention_heads=3, head_dim=8, max_position_embeddings=1024)
  cos, sin = llama.LlamaRotaryEmbedding(config)(torch.tensor(x), torch.tensor(pos_BT))
  theirs, _ = llama.apply_rotary_pos_emb(torch.tensor(x).transpose(1, 2), torch.tensor(x).transpose(1, 2), cos, sin)
  ours = scheme("rope", head_dim=8).rotate(x, Positions(pos_BT, np.ones_like(pos_BT)))
  np.testing.assert_allclose(ours, theirs.transpose(1, 2).numpy(), atol=1e-4)  # 500 radians in float32


@pytest.mark.parametrize("heads", [1, 3, 4, 8, 12, 20])
def test_alibi_equals_bloom(torch, heads):
  bloom = pytest.importorskip("transformers.models.bloom.modeling_bloom")
  theirs = bloom.build_alibi_tensor(torch.ones(1, 9), heads, torch.float32).reshape(heads, 9).numpy()
  np.testing.assert_allclose(theirs, slopes(heads)[:, None] * np.arange(9), rtol=1e-6)
  # Bloom leaves out what is constant along the keys: softmax does not see it.
  ours_HS = np.asarray(scheme("alibi", heads=heads).after(rows(1, 8), rows(9)))[0, :, 0]
  np.testing.assert_allclose(ours_HS - ours_HS[:, :1], theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_t5_buckets_and_bias_equal_t5(torch, bidirectional):
  t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
  ahead = torch.arange(-300, 301)
  theirs = t5.T5Attention._relative_position_bucket(ahead, bidirectional, num_buckets=32, max_distance=128)
  made = scheme("t5", bidirectional=bidirectional)
  np.testing.assert_array_equal(made.bucket(ahead.numpy()), theirs.numpy())
  config = t5.T5Config(d_model=24, d_kv=6, num_heads=4, is_decoder=not bidirectional)
  attention = t5.T5Attention(config, has_relative_attention_bias=True)
  attention.relative_attention_bias.weight.data = torch.tensor(np.array(made.table[...]))
  bias = attention.compute_bias(7, 7).detach().numpy()
  np.testing.assert_allclose(made.after(rows(7), rows(7)), bias, rtol=1e-6)
