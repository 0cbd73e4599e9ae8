"""What stands between the two layers of the feed-forward network in published Transformers."""

# Model, year, non-linearity, source. "gated": the non-linearity multiplies a third matrix (Shazeer 2020). Source
# "Transformers" is the default of the model's configuration in that library, looked up; the rest is from memory.
PUBLISHED = tuple(
  tuple(line.split(", "))
  for line in """
Transformer, 2017, ReLU, memory
GPT, 2018, GELU, Transformers
BERT, 2018, GELU, Transformers
GPT-2, 2019, GELU, Transformers
Transformer-XL, 2019, ReLU, memory
XLM, 2019, GELU, Transformers
XLNet, 2019, GELU, Transformers
RoBERTa, 2019, GELU, Transformers
ALBERT, 2019, GELU, Transformers
DistilBERT, 2019, GELU, Transformers
CTRL, 2019, ReLU, memory
BART, 2019, GELU, Transformers
T5, 2019, ReLU, Transformers
FairSeq WMT19, 2019, ReLU, Transformers
Reformer, 2020, ReLU, Transformers
ELECTRA, 2020, GELU, Transformers
MobileBERT, 2020, ReLU, Transformers
Longformer, 2020, GELU, Transformers
BigBird, 2020, GELU, Transformers
DeBERTa, 2020, GELU, Transformers
GPT-3, 2020, GELU, memory
M2M-100, 2020, ReLU, Transformers
ViT, 2020, GELU, Transformers
T5 v1.1, 2020, gated GELU, memory
mT5, 2020, gated GELU, Transformers
GPT-Neo, 2021, GELU, Transformers
GPT-J, 2021, GELU, Transformers
RoFormer, 2021, GELU, Transformers
XGLM, 2021, GELU, Transformers
OPT, 2022, ReLU, Transformers
GPT-NeoX, 2022, GELU, Transformers
BLOOM, 2022, GELU, Transformers
CodeGen, 2022, GELU, Transformers
NLLB, 2022, ReLU, Transformers
Whisper, 2022, GELU, Transformers
PaLM, 2022, gated SiLU, memory
LLaMA, 2023, gated SiLU, Transformers
umT5, 2023, gated GELU, Transformers
MPT, 2023, GELU, Transformers
Falcon, 2023, GELU, Transformers
Persimmon, 2023, squared ReLU, Transformers
Mistral, 2023, gated SiLU, Transformers
Phi, 2023, GELU, Transformers
Mixtral, 2023, gated SiLU, Transformers
StableLM, 2023, gated SiLU, Transformers
OLMo, 2024, gated SiLU, Transformers
StarCoder2, 2024, GELU, Transformers
Qwen2, 2024, gated SiLU, Transformers
Gemma, 2024, gated GELU, Transformers
Command R, 2024, gated SiLU, Transformers
Phi-3, 2024, gated SiLU, Transformers
DeepSeek-V2, 2024, gated SiLU, Transformers
Nemotron-4, 2024, squared ReLU, Transformers
Jamba, 2024, gated SiLU, Transformers
ModernBERT, 2024, gated GELU, Transformers
DeepSeek-V3, 2024, gated SiLU, Transformers
Qwen3, 2025, gated SiLU, Transformers
Gemma 3, 2025, gated GELU, Transformers
SmolLM3, 2025, gated SiLU, Transformers
""".strip().splitlines()
)


def share(first: int, last: int, kinds: tuple[str, ...] = ("ReLU", "GELU")) -> float:
  """Share of the published models of these years with one of these non-linearities and no gate."""
  chosen = [row for row in PUBLISHED if first <= int(row[1]) <= last]
  return sum(row[2] in kinds for row in chosen) / len(chosen)
