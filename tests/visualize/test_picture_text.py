from __future__ import annotations

import numpy as np
import pytest

from visualize.picture_text import draw_text

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;-+=_/|()%'?!"


def test_a_line_is_as_wide_as_the_pen_and_smooth_at_its_sides():
    ink = draw_text("l", 28)
    assert ink.shape == (42, 7) and ink.dtype == np.float32
    # From (3.4, 3) down to (3.4, 31) with a pen of radius 1.8.
    np.testing.assert_allclose(ink[18], [0, 0.4, 1, 1, 1, 0.2, 0], atol=1e-5)
    np.testing.assert_allclose(ink[:, 3], [0, 0.8, *[1] * 30, 0.8, *[0] * 9], atol=0.01)


@pytest.mark.parametrize("pair", ["bd", "pq"])
def test_mirrored_letters_are_mirror_images(pair: str):
    one, two = (draw_text(letter, 70) for letter in pair)
    np.testing.assert_allclose(one, two[:, ::-1], atol=1e-5)
    assert (one != two).any()


def test_round_letters_are_closed_rings():
    ink = draw_text("o", 70)  # center (29.5, 52.5), radii 21 and 25, pen 4.5
    angles = np.linspace(0, 2 * np.pi, 200)
    ring = ink[(52.5 + 25 * np.sin(angles)).astype(int), (29.5 + 21 * np.cos(angles)).astype(int)]
    assert ring.min() > 0.95
    assert ink[52, 29] == 0 and ink[35, 29] == 0


def test_arcs_run_from_their_first_angle_to_their_last():
    c = draw_text("c", 70)
    assert c[27, 29] > 0.9 and c[77, 29] > 0.9 and c[52, 8] > 0.9
    assert c[52, 50] == 0  # open to the right
    s = draw_text("s", 70)
    width = s.shape[1]
    assert s[40, : width // 2].max() > 0.9 and s[40, width // 2 + 5 :].max() < 0.5
    assert s[65, width // 2 :].max() > 0.9 and s[65, : width // 2 - 5].max() < 0.5


@pytest.mark.parametrize("letter", LETTERS)
def test_every_letter_is_drawn_whole(letter: str):
    ink = draw_text(letter, 21)
    assert 0.9 < ink.max() <= 1 and ink.min() == 0
    edges = (ink[0], ink[-1], ink[:, 0], ink[:, -1])
    assert max(edge.max() for edge in edges) <= 0.5


def test_letters_differ():
    drawn = {draw_text(letter, 21).tobytes() for letter in LETTERS}
    assert len(drawn) == len(LETTERS) - 1  # capital i is a small L


def test_letters_stand_side_by_side():
    one, two, both = (draw_text(text, 70) for text in ("d", "o", "do"))
    assert both.shape == (105, one.shape[1] + two.shape[1])
    np.testing.assert_allclose(both, np.concatenate([one, two], axis=1), atol=1e-5)


def test_spaces_and_descenders_have_room():
    assert draw_text("a a", 28).shape[1] - draw_text("aa", 28).shape[1] == 10
    below = draw_text("p", 28)[33:]  # the baseline is at 31
    assert below.max() == 1 and draw_text("a", 28)[35:].max() == 0


def test_no_letters_are_no_ink():
    assert draw_text("", 28).shape == (42, 0)


def test_an_unknown_sign_is_named():
    with pytest.raises(ValueError, match=r"'µm²' cannot be drawn: there are no letters for ² µ"):
        draw_text("µm²", 20)
