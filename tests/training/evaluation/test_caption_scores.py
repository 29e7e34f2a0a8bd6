"""Caption scores computed by hand."""

from __future__ import annotations

import pytest

from tests.tiny_pictures import shape_pictures
from training.evaluation.caption_scores import caption_scores
from training.evaluation.tasks.catalogue import EVALUATION_TASKS


def test_the_same_captions_score_full_marks() -> None:
    scores = caption_scores(["a red car on the road"], ["a red car on the road"])
    assert scores == pytest.approx({"exact": 100.0, "token_f1": 100.0, "bleu1": 100.0, "bleu4": 100.0})


def test_words_in_common_count_in_part() -> None:
    """Two of three shared words give F1 2/3 and a caption without common words 0; neither is an exact match."""
    scores = caption_scores(["a red car", "blue sky"], ["a green car", "dog"])
    assert scores["token_f1"] == pytest.approx(100 * (2 / 3 + 0) / 2)
    assert scores["exact"] == 0.0
    assert scores["bleu1"] > scores["bleu4"]


def test_a_repeated_word_counts_once_for_each_time_it_is_wanted() -> None:
    assert caption_scores(["flag"], ["flag flag flag"])["token_f1"] == pytest.approx(50.0)


def test_the_nearest_picture_beats_the_most_frequent_caption() -> None:
    """The nearest-picture baseline beats the most frequent caption on shapes on a white ground."""
    crude, near = EVALUATION_TASKS["captioning"].baselines(shape_pictures(60), shape_pictures(20, seed=2))
    assert (crude.name, near.name) == ("most frequent caption", "caption of the nearest picture")
    assert near.measures["exact"] > 90 > crude.measures["exact"]
