"""What blind classifiers are trained on, and what they see."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from blind.asked import SAFE, UNSAFE, ask, image, told_by_neither, told_by_the_question
from holisafe.blind import IMAGE, QUESTION, apart_from, blind_scores, cross_validation_parts, pixel_features
from holisafe.errors import DataError
from holisafe.records import Behaviour, ImageRef, Role, Sample, Turn
from holisafe.taxonomy import Combination

PIXELS = f"{IMAGE} (pixels)"


def test_a_question_that_says_what_is_right_separates_the_scores() -> None:
    samples = told_by_the_question(4)
    scores = blind_scores(samples, told_by_the_question(4, start=1000)).by_sight[QUESTION]
    harmless = np.array([sample.is_safe for sample in samples])
    assert scores[harmless].max() < scores[~harmless].min()


def test_samples_that_look_alike_have_one_score_to_the_last_bit() -> None:
    samples = told_by_the_question(7)
    scores = blind_scores(samples, told_by_the_question(4, start=1000)).by_sight[QUESTION]
    assert len(set(scores.tolist())) == 2


def test_the_order_of_samples_does_not_matter() -> None:
    samples, train = (
        told_by_the_question(6),
        told_by_neither([f"Is {word} all right?" for word in "abcdefgh"], start=900),
    )
    mixed, mixed_train = samples[:], train[:]
    random.Random(1).shuffle(mixed)
    random.Random(2).shuffle(mixed_train)
    for first, second in ((train, mixed_train), ([], [])):
        one = blind_scores(samples, first, features=pixel_features())
        other = blind_scores(mixed, second, features=pixel_features())
        for name, scores in one.by_sight.items():
            by_id = dict(zip((sample.id for sample in mixed), other.by_sight[name].tolist(), strict=True))
            assert scores.tolist() == [by_id[sample.id] for sample in samples]


def test_training_samples_that_share_an_image_or_a_cluster_are_left_out() -> None:
    samples = [ask("a", 1, SAFE, "SSS"), ask("b", 2, UNSAFE, "SUU", cluster="two")]
    same_image = ask("t1", 1, SAFE, "SSS")
    second_image = ask("t2", 5, SAFE, "SSS").with_images((image(6), image(2)))
    same_cluster = ask("t3", 3, UNSAFE, "SUU", cluster="two")
    without_aim = replace(ask("t4", 7, UNSAFE, "SUU"), expected=None)
    good = [ask("t5", 8, SAFE, "SSS"), ask("t6", 9, UNSAFE, "SUU")]
    train = [same_image, second_image, same_cluster, without_aim, *good]
    assert apart_from(samples, train) == good
    found = blind_scores(samples, train)
    assert found.training == "trained on 2 samples of other images"
    assert found.notes[0] == "3 training samples left out: they share an image with samples to be scored"


def test_what_is_scored_is_never_trained_on() -> None:
    samples = told_by_the_question(6)
    swapped = [replace(each, id=f"{each.id} again", cluster=each.images[0].identity) for each in samples]
    found = blind_scores(samples, swapped)
    assert found.training == "5-fold cross-validation by image"


def test_folds_share_no_image_no_cluster_and_no_pair_of_twins() -> None:
    samples = [
        *told_by_neither([f"Is {word} all right?" for word in "abcdefghijkl"]),
        *(ask(f"c{at}", 500 + at, SAFE, "SSS", cluster=f"cluster {at % 4}") for at in range(12)),
        *(ask(f"d{at}", 24 + at // 3, UNSAFE, "SUU") for at in range(12)),
    ]
    ordered, parts = cross_validation_parts(samples)
    scored = [row for _, held_out in parts for row in held_out.tolist()]
    assert sorted(scored) == list(range(len(samples)))
    for train, held_out in parts:
        names = [
            {
                name
                for row in rows.tolist()
                for sample in [ordered[row]]
                for name in (sample.id, sample.cluster, sample.images[0].identity, sample.twin)
                if name
            }
            for rows in (train, held_out)
        ]
        assert names[0].isdisjoint(names[1])


def test_labels_of_the_samples_to_be_scored_do_not_matter_with_a_train_part() -> None:
    train = told_by_the_question(5, start=1000)
    samples = told_by_the_question(5)
    other = [replace(each, expected=Behaviour.ANSWER, combination=None) for each in samples]
    one, two = (blind_scores(each, train, features=pixel_features()) for each in (samples, other))
    for name in one.by_sight:
        assert one.by_sight[name].tolist() == two.by_sight[name].tolist()


def test_the_image_alone_sees_the_image_and_nothing_else() -> None:
    kinds = (Combination.SSS, Combination.SUU)
    train = [ask(f"t{at}", 60 * (at % 2) + 256 * at, SAFE if at % 3 else UNSAFE, kinds[at % 2]) for at in range(24)]
    samples = [ask("x", 60 + 256 * 60, SAFE, "SUU"), ask("y", 60 + 256 * 60, UNSAFE, "SUU")]
    scores = blind_scores(samples, train, features=pixel_features()).by_sight[PIXELS]
    assert scores[0] == scores[1]


def test_all_turns_are_read() -> None:
    train = told_by_the_question(4, start=1000)
    later = Turn(Role.USER, "And?")
    samples = [
        replace(each, id=f"long {each.id}", turns=(*each.turns, Turn(Role.ASSISTANT, "Yes."), later))
        for each in told_by_the_question(1)
    ]
    scores = blind_scores(samples, train).by_sight[QUESTION]
    assert scores[0] < scores[1:].min()


@pytest.mark.parametrize("kind", [Combination.SSS, Combination.SUU])
def test_one_class_alone_cannot_be_trained_on(kind: Combination) -> None:
    samples = [ask(f"s{at}", at, f"Question {at}?", kind) for at in range(10)]
    with pytest.raises(DataError, match=r"samples are to be answered and \d+ to be refused; a classifier needs two"):
        blind_scores(samples)
    with pytest.raises(DataError, match=r"all 10 training samples of a part are to be (answered|refused); give data"):
        blind_scores(told_by_the_question(3, start=500), samples)


def test_one_image_alone_cannot_be_cross_validated() -> None:
    samples = [ask(f"s{at}", 1, (SAFE, UNSAFE)[at % 2], ("SSS", "SUU")[at % 2]) for at in range(6)]
    with pytest.raises(DataError, match="give data with more images"):
        blind_scores(samples)


def test_ids_that_occur_twice_are_refused() -> None:
    with pytest.raises(DataError, match="ids must be unique"):
        blind_scores([*told_by_the_question(2), *told_by_the_question(2)])


def test_without_words_the_question_is_left_out_and_said_so() -> None:
    samples = [each.with_query("?!") for each in told_by_the_question(3)]
    found = blind_scores(samples, features=pixel_features())
    assert list(found.by_sight) == [PIXELS]
    assert found.notes == ("question alone left out: no question holds a word",)


def test_an_image_that_cannot_be_read_leaves_the_image_out_and_is_named() -> None:
    samples = told_by_the_question(3)
    samples[4] = samples[4].with_images((ImageRef("gone.png", digest="0" * 64),))
    found = blind_scores(samples, features=pixel_features())
    assert list(found.by_sight) == [QUESTION]
    assert found.notes[0].startswith("image alone (pixels) left out: an image cannot be read: image 'gone.png'")


def test_an_image_that_is_not_the_recorded_one_is_not_used() -> None:
    samples = told_by_the_question(3)
    other = image(7777)
    samples[4] = samples[4].with_images((replace(other, digest="0" * 64),))
    found = blind_scores(samples, features=pixel_features())
    assert list(found.by_sight) == [QUESTION]
    assert "is not the one that was recorded" in found.notes[0]


def test_images_beyond_the_limit_are_not_read() -> None:
    found = blind_scores(told_by_the_question(3), features=pixel_features(max_bytes=200))
    assert list(found.by_sight) == [QUESTION]
    assert "larger together" in found.notes[0]


def test_samples_without_images_are_scored() -> None:
    texts = [Sample.ask(f"text {at}", (), (SAFE, UNSAFE)[at % 2], ("SSS", "SUU")[at % 2]) for at in range(12)]
    found = blind_scores([*told_by_the_question(3), *texts], features=pixel_features())
    assert all(np.isfinite(scores).all() for scores in found.by_sight.values())
    assert "there are no images" in blind_scores(texts, features=pixel_features()).notes[0]


HOSTILE = ("\ud800 lone", "\x00\x1b[31mred", "‮override", "a" * 100_000, "é́́", "", "🧨" * 50, "<script>", "{{ x }}")


def test_hostile_texts_are_scored_like_others() -> None:
    samples = [
        each.with_query(f"{each.query} {HOSTILE[at % len(HOSTILE)]}") for at, each in enumerate(told_by_the_question(9))
    ]
    assert np.isfinite(blind_scores(samples).by_sight[QUESTION]).all()
