"""The suite judged: the kit is run against the fake and against broken and odd variants of it."""
