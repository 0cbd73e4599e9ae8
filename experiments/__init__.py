"""From a claim to a verdict: studies, evidence, statistics, ledger, report and the command line."""
