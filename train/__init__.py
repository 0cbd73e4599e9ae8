"""Training: ensembles of members, tasks, corpora, checkpoints; names no mechanism or model."""
