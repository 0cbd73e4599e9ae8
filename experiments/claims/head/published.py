"""Heads of published models."""

# Model, year, layers (of the encoder where there are two stacks), width, heads; sizes that the authors list, from
# memory but for the first two lines.
PUBLISHED = tuple(
  tuple(line.split(", "))
  for line in """
Transformer base, 2017, 6, 512, 8
Transformer big, 2017, 6, 1024, 16
GPT, 2018, 12, 768, 12
BERT base, 2018, 12, 768, 12
BERT large, 2018, 24, 1024, 16
Transformer-XL base, 2019, 16, 410, 10
Transformer-XL large, 2019, 18, 1024, 16
GPT-2 small, 2019, 12, 768, 12
GPT-2 medium, 2019, 24, 1024, 16
GPT-2 large, 2019, 36, 1280, 20
GPT-2 XL, 2019, 48, 1600, 25
XLNet base, 2019, 12, 768, 12
XLNet large, 2019, 24, 1024, 16
RoBERTa base, 2019, 12, 768, 12
RoBERTa large, 2019, 24, 1024, 16
DistilBERT, 2019, 6, 768, 12
ALBERT base, 2019, 12, 768, 12
ALBERT large, 2019, 24, 1024, 16
ALBERT xxlarge, 2019, 12, 4096, 64
T5 small, 2019, 6, 512, 8
T5 base, 2019, 12, 768, 12
T5 large, 2019, 24, 1024, 16
T5 3B, 2019, 24, 1024, 32
T5 11B, 2019, 24, 1024, 128
BART base, 2019, 6, 768, 12
BART large, 2019, 12, 1024, 16
ELECTRA small, 2020, 12, 256, 4
ELECTRA base, 2020, 12, 768, 12
ELECTRA large, 2020, 24, 1024, 16
ViT base, 2020, 12, 768, 12
ViT large, 2020, 24, 1024, 16
ViT huge, 2020, 32, 1280, 16
GPT-3 125M, 2020, 12, 768, 12
GPT-3 350M, 2020, 24, 1024, 16
GPT-3 760M, 2020, 24, 1536, 16
GPT-3 1.3B, 2020, 24, 2048, 24
GPT-3 2.7B, 2020, 32, 2560, 32
GPT-3 6.7B, 2020, 32, 4096, 32
GPT-3 13B, 2020, 40, 5140, 40
GPT-3 175B, 2020, 96, 12288, 96
DeiT tiny, 2021, 12, 192, 3
DeiT small, 2021, 12, 384, 6
GPT-J, 2021, 28, 4096, 16
GPT-NeoX, 2022, 44, 6144, 64
PaLM 8B, 2022, 32, 4096, 16
PaLM 62B, 2022, 64, 8192, 32
PaLM 540B, 2022, 118, 18432, 48
Chinchilla, 2022, 80, 8192, 64
BLOOM, 2022, 70, 14336, 112
Whisper tiny, 2022, 4, 384, 6
Whisper base, 2022, 6, 512, 8
Whisper small, 2022, 12, 768, 12
Whisper medium, 2022, 24, 1024, 16
Whisper large, 2022, 32, 1280, 20
LLaMA 7B, 2023, 32, 4096, 32
LLaMA 13B, 2023, 40, 5120, 40
LLaMA 33B, 2023, 60, 6656, 52
LLaMA 65B, 2023, 80, 8192, 64
Pythia 70M, 2023, 6, 512, 8
Pythia 160M, 2023, 12, 768, 12
Pythia 410M, 2023, 24, 1024, 16
Pythia 1B, 2023, 16, 2048, 8
Pythia 1.4B, 2023, 24, 2048, 16
Pythia 2.8B, 2023, 32, 2560, 32
Pythia 6.9B, 2023, 32, 4096, 32
Pythia 12B, 2023, 36, 5120, 40
Mistral 7B, 2023, 32, 4096, 32
Gemma 2B, 2024, 18, 2048, 8
Gemma 7B, 2024, 28, 3072, 16
""".strip().splitlines()
)


def share(first: int, last: int, heads: tuple[str, ...] = ("8", "12")) -> float:
  """Share of the published models of these years that have one of these numbers of heads."""
  chosen = [row for row in PUBLISHED if first <= int(row[1]) <= last]
  return sum(row[4] in heads for row in chosen) / len(chosen)
