"""Noise keys: the same draw always has the same, no two draws share one."""

import itertools

from engines.noise import Window, draw
from streamer.downscale.work import noise_keys
from tests.streamer.downscale.small import step_key


def test_no_two_draws_of_different_seeds_members_steps_or_repeats_share_noise() -> None:
    cases = itertools.product((0, 1, 11), (0, 1), (180, 360), ("", "1"))

    keys = [
        key
        for seed, member, minutes, again in cases
        for key in noise_keys(step_key(minutes, member, again), range(4), seed)
    ]

    assert len(set(keys)) == len(keys) == 3 * 2 * 2 * 2 * 4
    window = Window((0, 1), (0, 4), 4)
    assert len({draw(key, 0, 1, window).tobytes() for key in keys}) == len(keys)


def test_the_same_draw_has_the_same_key_whatever_is_drawn_beside_it() -> None:
    assert noise_keys(step_key(), range(4))[:2] == noise_keys(step_key(), range(2))
    assert noise_keys(step_key(), range(4))[2:] == noise_keys(step_key(), (2, 3))


def test_noise_of_the_run_is_the_same_at_every_step_and_only_there() -> None:
    first, later = (noise_keys(step_key(m), range(2), noise="run") for m in (180, 360))

    assert first == later
    assert not set(first) & set(noise_keys(step_key(180, member=1), range(2), noise="run"))
    assert not set(first) & set(noise_keys(step_key(180), range(2)))
