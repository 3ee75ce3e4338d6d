from __future__ import annotations

import pytest

from conformance.core.errors import UsageError
from conformance.core.sizes import MAX_SIZE_BYTES, parse_size, show_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("1048576", 2**20),
        ("64MiB", 64 * 2**20),
        (" 200 mb ", 200_000_000),
        ("1.5kB", 1500),
        ("0.5GiB", 2**29),
        ("1b", 1),
        (str(MAX_SIZE_BYTES), MAX_SIZE_BYTES),
    ],
)
def test_a_size_is_a_number_with_an_optional_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "MiB", "0", "0.4b", "-1", "1e9", "64MiBs", "64 M i B", "2GiB", "9" * 40, "١MB", "∞", "1.MB", "0x10"]
)
def test_an_invalid_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size; write 64MiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (64 * 2**20, "64 MiB"),
        (200_000_000, "200 MB"),
        (2**30, "1 GiB"),
        (1500, "1500 bytes"),
        (2000, "2 KB"),
        (MAX_SIZE_BYTES, f"{MAX_SIZE_BYTES} bytes"),
    ],
)
def test_a_size_is_shown_in_the_largest_unit_that_fits(size: int, text: str) -> None:
    assert show_size(size) == text
