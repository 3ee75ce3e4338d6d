from __future__ import annotations

from itertools import pairwise

import pytest

from conformance.core.fencing import LADDER, MAX_TOKEN_NUMBER, LadderShard, Shard, Token, choose_token


def test_tokens_are_compared_by_epoch_first() -> None:
    assert Token("shard", 2, 1).numbers > Token("shard", 1, 99).numbers
    assert Token("shard", 1, 2).numbers > Token("shard", 1, 1).numbers


def test_each_token_of_a_shard_is_newer_than_the_last() -> None:
    shard = Shard("shard")
    tokens = [shard.next() for _ in range(3)]
    assert tokens == [Token("shard", 1, 1), Token("shard", 1, 11), Token("shard", 1, 12)]


def test_a_token_in_a_new_epoch_is_newer_by_both_numbers_and_as_text() -> None:
    shard = Shard("shard")
    tokens = [shard.next(), shard.next(), *(shard.next_in_new_epoch() for _ in range(20)), shard.next()]
    for older, newer in pairwise(tokens[:-1]):
        assert (newer.epoch, newer.sequence) > (older.epoch, older.sequence)
        assert newer.sequence > older.sequence
    assert [str(t.epoch) for t in tokens] == sorted(str(t.epoch) for t in tokens)
    assert tokens[-1].epoch == tokens[-2].epoch


def test_the_next_incarnation_starts_a_new_sequence_in_a_newer_epoch() -> None:
    shard = Shard("shard")
    old = shard.next()
    shard.start_after_epoch(1)
    assert shard.next() == Token("shard", 2, 1)
    assert old.numbers < (2, 1)


def test_after_the_last_epoch_a_token_can_still_be_sent() -> None:
    shard = Shard("shard")
    shard.start_after_epoch(2**63 - 1)
    assert shard.next() == Token("shard", 2**63 - 1, 2**63 - 1)
    assert shard.next() == Token("shard", 2**63 - 1, 2**63 - 1), "no token is larger"


def test_a_token_with_given_numbers_does_not_advance_the_sequence() -> None:
    shard = Shard("shard")
    assert shard.token(epoch=9, sequence=9) == Token("shard", 9, 9)
    assert shard.next() == Token("shard", 1, 1)


def test_a_long_shard_id_is_truncated_and_shown_with_its_length() -> None:
    shown = str(Token("s" * 1000, 1, 2))
    assert len(shown) < 100
    assert "(1000 characters)" in shown
    assert shown.endswith("epoch 1 sequence 2")


def test_a_shard_id_with_control_characters_is_quoted() -> None:
    assert "\n" not in str(Token("s\nhard", 1, 1))


@pytest.mark.parametrize("step", [0, 5, len(LADDER) - 1])
def test_each_step_of_a_ladder_is_newer_than_the_last(step: int) -> None:
    shard = LadderShard("shard", step=step)
    numbers = [shard.next().numbers for _ in range(len(LADDER) + 5)]
    assert numbers[0] == LADDER[step]
    assert all(older < newer for older, newer in pairwise(numbers))


def test_a_ladder_crosses_each_number_that_wrong_comparisons_get_wrong() -> None:
    epochs, sequences = zip(*LADDER, strict=True)
    assert {2**31, 2**32, 2**53, 2**53 + 1} <= set(epochs) & set(sequences) | {2**53 + 1}
    assert MAX_TOKEN_NUMBER in sequences
    assert any(newer[0] > older[0] and newer[1] < older[1] for older, newer in pairwise(LADDER))


def test_a_ladder_goes_on_after_the_epoch_that_fences_it_off() -> None:
    shard = LadderShard("shard")
    shard.start_after_epoch(9)
    assert shard.next().numbers == (2**31 - 1, 99)
    shard.start_after_epoch(MAX_TOKEN_NUMBER)
    assert shard.next().numbers == (MAX_TOKEN_NUMBER, MAX_TOKEN_NUMBER)


def test_a_call_is_retried_with_a_newer_token_only_if_a_shard_has_issued_it() -> None:
    own, other, chosen = Shard("own"), Shard("other"), Token("chosen", 7, 7)
    assert choose_token(None, own) == (Token("own", 1, 1), own)
    assert choose_token(other, own) == (Token("other", 1, 1), other)
    assert choose_token(chosen, own) == (chosen, None)
