"""Transfer learning: labels, compute, representations, fine-tuning."""

from experiments.protocol.claim import Claim, Literature

CLAIMS = (
  Claim(
    "TL-1",
    "D2",
    "D2b-2",
    "Pre-training lowers the number of labeled examples a task needs.",
    "empirical",
    "trial",
    "ratio of labels from scratch to labels after pre-training at equal accuracy, best scratch initialization",
    literature=(
      Literature("100", "times the data, abstract", "Howard and Ruder 2018 (an LSTM)", checked=True),
      Literature("10; 20", "times the data, supervised, IMDb; AG", "Howard and Ruder 2018 (an LSTM)", checked=True),
    ),
  ),
  Claim(
    "TL-2",
    "D2",
    "D2b-2",
    "Reusing a pre-trained model saves computation.",
    "empirical",
    "trial",
    "FLOPs to target with pre-training spread over k tasks, search for learning rates counted in both arms",
  ),
  Claim(
    "TL-3",
    "D2",
    "D2b-2",
    "The contextual embeddings of a pre-trained model carry syntax and meaning.",
    "empirical",
    "probe",
    "selectivity of a linear probe over a control task, against token identity and random encoders",
    literature=(
      Literature("control tasks are needed", "", "Hewitt and Liang 2019, seen in public notes on GitHub", checked=True),
    ),
  ),
  Claim(
    "TL-4",
    "D2",
    "D2b-2; D2b-6",
    "Transfer learning reaches the best published results on many language tasks.",
    "paper_scale",
    "citation",
    "published leaderboards, with dates",
  ),
  Claim(
    "TL-5",
    "D2",
    "D2b-2; D2b-6",
    "Fine-tuning a pre-trained model on the task's data improves on using its features as they are.",
    "empirical",
    "trial",
    "accuracy of full fine-tuning, frozen features and scratch, by number of labels and by match of the source",
  ),
  Claim(
    "TL-6",
    "D2",
    "D2b-2; D2b-3",
    "Transfer helps on tasks such as sentiment analysis, question answering, classification and named entities.",
    "empirical",
    "trial",
    "gain over scratch on at least one real text task of each kind",
  ),
)
