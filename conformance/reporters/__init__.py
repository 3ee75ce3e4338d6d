"""Reporters: `progress`, `ndjson` and `report_dir` listen to events, all others are functions of the report."""
