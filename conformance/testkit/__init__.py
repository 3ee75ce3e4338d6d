"""The API for writing behaviours: @behaviour, Trial, expect, observer, properties."""
