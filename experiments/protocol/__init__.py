"""From a claim to a verdict: studies, looks, statistics, decisions, replication, calibration."""
