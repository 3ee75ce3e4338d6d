"""Types with a unit or a range. They tell readers what a number is, and msgspec checks them when JSON is decoded."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0, le=1e300)]
"""The upper limit keeps sums finite."""
FenceScope = Annotated[str, Meta(pattern=r"^(shard|shard-machine)\Z")]
