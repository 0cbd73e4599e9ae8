"""Transfer learning: labels, compute, representations, fine-tuning."""

from experiments.protocol.claim import Claim, Literature

CLAIMS = (
  Claim(
    id="TL-1",
    document="D2",
    place="D2b-2",
    statement="Pre-training lowers the number of labeled examples a task needs.",
    evidence="trial",
    measure="ratio of labels from scratch to labels after pre-training at equal accuracy, best scratch initialization",
    literature=(
      Literature("100", "times the data, abstract", "Howard and Ruder 2018 (an LSTM)", checked=True),
      Literature("10; 20", "times the data, supervised, IMDb; AG", "Howard and Ruder 2018 (an LSTM)", checked=True),
    ),
  ),
  Claim(
    id="TL-2",
    document="D2",
    place="D2b-2",
    statement="Reusing a pre-trained model saves computation.",
    evidence="trial",
    measure="FLOPs to target with pre-training spread over k tasks, search for learning rates counted in both arms",
  ),
  Claim(
    id="TL-3",
    document="D2",
    place="D2b-2",
    statement="The contextual embeddings of a pre-trained model carry syntax and meaning.",
    evidence="probe",
    measure="selectivity of a linear probe over a control task, against token identity and random encoders",
    literature=(
      Literature("control tasks are needed", "", "Hewitt and Liang 2019, seen in public notes on GitHub", checked=True),
    ),
  ),
  Claim(
    id="TL-4",
    document="D2",
    place="D2b-2; D2b-6",
    statement="Transfer learning reaches the best published results on many language tasks.",
    nature="paper_scale",
    evidence="citation",
    measure="published leaderboards, with dates",
  ),
  Claim(
    id="TL-5",
    document="D2",
    place="D2b-2; D2b-6",
    statement="Fine-tuning a pre-trained model on the task's data improves on using its features as they are.",
    evidence="trial",
    measure="accuracy of full fine-tuning, frozen features and scratch, by number of labels and by match of the source",
  ),
  Claim(
    id="TL-6",
    document="D2",
    place="D2b-2; D2b-3",
    statement="Transfer helps on tasks such as sentiment analysis, question answering, classification and named "
    "entities.",
    evidence="trial",
    measure="gain over scratch on at least one real text task of each kind",
  ),
)
