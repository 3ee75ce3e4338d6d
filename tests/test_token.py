from __future__ import annotations

from conformance.token import Shard, Token


def test_numbers_are_what_is_compared_epoch_first() -> None:
    assert Token("shard", 2, 1).numbers > Token("shard", 1, 99).numbers
    assert Token("shard", 1, 2).numbers > Token("shard", 1, 1).numbers


def test_each_token_of_a_shard_is_newer_than_the_last() -> None:
    shard = Shard("shard")
    tokens = [shard.next() for _ in range(3)]
    assert tokens == [Token("shard", 1, 1), Token("shard", 1, 2), Token("shard", 1, 3)]


def test_the_next_incarnation_begins_a_new_sequence_in_a_newer_epoch() -> None:
    shard = Shard("shard")
    old = shard.next()
    shard.outlive(1)
    assert shard.next() == Token("shard", 2, 1)
    assert old.numbers < (2, 1)


def test_after_the_last_epoch_a_token_can_still_be_sent() -> None:
    shard = Shard("shard")
    shard.outlive(2**63 - 1)
    assert shard.next() == Token("shard", 2**63 - 1, 2**63 - 1)


def test_a_token_with_given_numbers_leaves_the_sequence_alone() -> None:
    shard = Shard("shard")
    assert shard.token(epoch=9, sequence=9) == Token("shard", 9, 9)
    assert shard.next() == Token("shard", 1, 1)


def test_a_long_shard_id_is_shown_cut_and_with_its_length() -> None:
    shown = str(Token("s" * 1000, 1, 2))
    assert len(shown) < 100
    assert "(1000 characters)" in shown
    assert shown.endswith("epoch 1 sequence 2")


def test_a_shard_id_with_control_characters_is_quoted() -> None:
    assert "\n" not in str(Token("s\nhard", 1, 1))
