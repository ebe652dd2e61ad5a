"""Safety scores: made by a guard model or the model's own guard, kept by content, refused where they do not belong."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import LlavaProcessor, PreTrainedTokenizerFast
from typer.testing import CliRunner, Result

from guard.prompts import guard, tiny
from holisafe.cli import app
from holisafe.datasets.export import export_parquet
from holisafe.errors import GuardError, TuningError
from holisafe.guard import save_guard, session
from holisafe.judges import Reply
from holisafe.judges.guard_models import guard_model
from holisafe.models import LoadedModel, ModelSpec
from holisafe.records import Response, Sample
from holisafe.tuning import TuneConfig, score_answers
from holisafe.tuning._collate import Collator
from holisafe.tuning.methods.star_dss import StarDssConfig, Unit
from holisafe.tuning.methods.star_dss.scores import Chunks, chunks_of, content_keys, read_scores, scored
from holisafe.tuning.methods.star_dss.scoring import ChunkCutter, GuardModelScorer, OwnGuard, safe_score
from judges.guard_models.tiny_guards import mllama
from judges.guard_models.tiny_guards import save_guard as save_guard_model
from tiny_models import llava, save
from tuning.data import mixed, picture, sample
from tuning.tiny_run import general, safety

METHOD = TuneConfig(method="star-dss").method_part
LLAMA_GUARD = guard_model("llama-guard-3-vision")


def write(path: Path, samples: Sequence[Sample], **changes: Any) -> Path:
    """A file of scores of two chunks each."""
    rows = [
        {"id": each.id, "sha256": key, "ends": [2, len("".join((each.reference or "").split()))], "scores": [1, 0.5]}
        | changes
        for each, key in zip(samples, content_keys(samples), strict=True)
    ]
    lines = [{"format": "holisafe-scores-1", "guard": {}, "unit": "tokens", "chunk_size": 5}, *rows]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def prepared(path: Path, samples: Sequence[Sample]) -> Sequence[Sample]:
    return METHOD.prepare(samples, StarDssConfig(scores=str(path)))


def test_scores_are_found_by_content(tmp_path: Path) -> None:
    path = write(tmp_path / "scores.jsonl", mixed())
    renamed = [replace(each, id=f"new-{each.id}", cluster="other", licence="MIT") for each in mixed()]
    assert [chunks_of(each).scores for each in prepared(path, renamed)] == [(1.0, 0.5)] * 2


@pytest.mark.parametrize(
    "changed",
    [
        sample("one").with_query("and now?"),
        sample("one").with_images((picture("pink"),)),
        sample("one", reference="Yes, I will."),
    ],
)
def test_scores_of_another_question_image_or_answer_are_refused(changed: Sample, tmp_path: Path) -> None:
    path = write(tmp_path / "scores.jsonl", mixed())
    with pytest.raises(TuningError, match="sample one: holds scores of another question, image or answer"):
        prepared(path, [changed])
    with pytest.raises(TuningError, match="sample new: holds no scores"):
        prepared(path, [replace(changed, id="new")])


def test_general_data_without_scores_are_safe(tmp_path: Path) -> None:
    path = write(tmp_path / "scores.jsonl", mixed())
    found = METHOD.prepare_general([*general(1), mixed()[0]], StarDssConfig(scores=str(path)))
    assert [chunks_of(each).scores for each in found] == [(1.0,), (1.0, 0.5)]


def test_without_a_file_the_command_that_makes_one_is_named() -> None:
    with pytest.raises(TuningError, match="holisafe tune-scores"):
        METHOD.prepare(mixed(), StarDssConfig())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": [1, 1.5]}, r"line 2: scores: expected numbers in \[0, 1\], found \[1, 1.5\]"),
        ({"scores": [1, math.nan]}, "line 2: scores: expected numbers"),
        ({"scores": [1]}, "line 2: scores: found 1 for 2 chunks"),
        ({"ends": [3, 3]}, "line 2: ends: expected rising whole numbers"),
        ({"ends": [0, 3]}, "line 2: ends: expected rising whole numbers"),
        ({"ends": [2, 1000]}, "sample one: ends: the last is not the end of its answer"),
        ({"id": 3}, "line 2: id: expected a text, found 3"),
    ],
)
def test_a_broken_row_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "scores.jsonl", mixed(), **changes)
    with pytest.raises(TuningError, match=message):
        prepared(path, mixed())


@pytest.mark.parametrize("text", ["", "{}\n", "[]\n", "nonsense\n", '{"format": "other"}\n', "\x00"])
def test_what_is_no_file_of_scores_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    path.write_text(text)
    with pytest.raises(TuningError, match=r"scores\.jsonl: line 1"):
        prepared(path, mixed())


def test_a_score_is_the_sigmoid_of_the_difference_of_the_verdict_words_logits() -> None:
    question = LLAMA_GUARD.messages(mixed()[0], Response("one", "No.", ""))[0]
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        logits = torch.randn(40, generator=generator, dtype=torch.float64) * 6  # a vocabulary; 0 is unsafe, 1 safe
        shares = logits.softmax(0).tolist()
        reply = Reply("safe", "", probabilities={"unsafe": shares[0], "safe": shares[1]})
        found = safe_score(LLAMA_GUARD, question, reply, "one")
        assert found == pytest.approx(float(torch.sigmoid(logits[1] - logits[0])), abs=1e-12)
        assert found == pytest.approx(float(logits[:2].softmax(0)[1]), abs=1e-12)


def test_a_guard_model_is_asked_about_each_beginning_of_the_answer(tmp_path: Path) -> None:
    folder = save_guard_model(mllama(), tmp_path / "llama-guard-3-vision")
    scorer = GuardModelScorer(f"llama-guard-3-vision:{folder}", "cpu")
    one = sample(reference="No, I will not.")
    found = scorer.score(one, [2, 5, 12])
    assert len(found) == 3 and all(0 <= each <= 1 for each in found) and len(set(found)) == 3
    again = scorer.score(replace(one, reference="No, I w"), [2, 5])
    assert again == found[:2]  # what comes later is not seen
    assert scorer.identity["name"] == "llama-guard-3-vision:llama-guard-3-vision" and scorer.identity["model"]


@pytest.mark.parametrize(
    ("name", "message"), [("llama-guard-4", "expected its folder or Hub id"), ("shieldgemma2:x", "sees no responses")]
)
def test_a_guard_that_cannot_score_is_refused(name: str, message: str) -> None:
    with pytest.raises(GuardError, match=message):
        GuardModelScorer(name)


def test_the_own_guard_reads_its_joint_head_behind_each_beginning() -> None:
    made = tiny("llava")
    guard(made, joint_head=True)
    one = sample(reference="Sure, it is plain.")
    scorer = OwnGuard(LoadedModel(made.model, made.processor, "tiny"))
    found = scorer.score(one, [5, 9, 15])
    for end, score in zip(("Sure,", "Sure, it is", "Sure, it is plain."), found, strict=True):
        batch = Collator(made.processor)([replace(one, reference=end)])
        kept = int((batch.pop("labels")[0] != -100).nonzero()[-1])  # all but the token that ends the turn
        inputs = {name: each[:, :kept] if each.ndim == 2 else each for name, each in batch.items()}
        with session(made.model, inputs) as watched, torch.no_grad():
            made.model(**watched.inputs)
        request = watched.verdicts()[0].request
        assert request is not None and score == pytest.approx(1 - request.unsafe, abs=1e-5)
    refusal = sample(reference="I'm sorry, but I can't help with that.")
    assert scorer.score(refusal, [4, 8]) == [1.0, 1.0]


def words_alone() -> Any:
    """A processor to which every word is one token."""
    made = llava()
    names = [*(f"w{i}" for i in range(30)), "user:", "assistant:", "<unk>"]
    core = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.add_special_tokens([AddedToken(name, special=True) for name in ("<pad>", "<bos>", "<eos>", "<image>")])
    tokens = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )  # fmt: skip
    processor = LlavaProcessor(
        made.processor.image_processor,
        tokens,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=made.processor.chat_template.replace("assistant:{%", "assistant: {%"),
    )
    made.model.config.image_token_id = tokens.convert_tokens_to_ids("<image>")
    return made.model, processor


@pytest.mark.parametrize("count", [1, 5, 12, 15])
def test_chunks_of_tokens_and_of_words_are_one_where_every_word_is_a_token(count: int) -> None:
    model, processor = words_alone()
    one = sample(query="w1 w2", reference=" ".join(f"w{3 * i % 30}" for i in range(count)))
    cut = {unit: ChunkCutter(processor, unit, 5).ends(one) for unit in Unit}
    assert cut[Unit.TOKENS] == cut[Unit.WORDS] and len(cut[Unit.WORDS]) == math.ceil(count / 5)
    losses = []
    for ends in cut.values():
        judged = scored(one, Chunks(tuple(ends), tuple(1 / (1 + end) for end in ends)))
        batch = METHOD.collator(processor, None)([judged])
        losses.append(METHOD.loss(model, batch, StarDssConfig(reference_weight=0.0)).total())
    assert torch.equal(*losses)


def test_chunks_are_of_five_tokens() -> None:
    made = llava()
    ends = ChunkCutter(made.processor, Unit.TOKENS, 5).ends(sample(reference="abcdefghijkl"))
    assert ends == [4, 9, 12]  # tokens are bytes, and the first is the space of the template


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with its guard, and data."""
    folder = tmp_path_factory.mktemp("place")
    made = tiny("llava")
    save(made, folder / "model")
    guard(made, joint_head=True)
    save_guard(made.model, folder / "model" / "guard")
    export_parquet(safety(), folder / "data", "train")
    return folder


def test_a_file_is_continued_with_what_is_new(place: Path, tmp_path: Path) -> None:
    spec, out = ModelSpec(str(place / "model"), device="cpu"), tmp_path / "scores.jsonl"
    first = score_answers(spec, safety(4), out)
    assert (first.samples, first.computed, first.unreadable) == (4, 4, 0) and first.mean is not None
    rows = read_scores(out)[1]
    with out.open("a") as file:
        file.write('{"id": "half')
    second = score_answers(spec, safety(6), out)
    assert (second.samples, second.computed) == (6, 2)
    assert {key: read_scores(out)[1][key] for key in rows} == rows
    with pytest.raises(TuningError, match="made with other unit"):
        score_answers(spec, safety(6), out, unit="words")


def test_words_are_scored_by_a_guard_model(place: Path, tmp_path: Path) -> None:
    folder = save_guard_model(mllama(), tmp_path / "llama-guard-3-vision")
    spec, out = ModelSpec("no/such-model", device="cpu"), tmp_path / "scores.jsonl"  # whose tokens do not count
    made = score_answers(spec, safety(2), out, f"llama-guard-3-vision:{folder}", unit="words", chunk_size=2)
    assert (made.samples, made.computed) == (2, 2) and made.mean is not None and 0 < made.mean < 1
    assert [chunks_of(each).ends for each in prepared(out, safety(2))] == [(4, 12), (4, 10)]


def holisafe(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def test_scores_are_made_and_learned_from_by_two_commands(place: Path, tmp_path: Path) -> None:
    model, data, scores = str(place / "model"), str(place / "data"), str(tmp_path / "scores.jsonl")
    made = holisafe("tune-scores", model, "--data", data, "--out", scores, "--device", "cpu", "--json")
    assert made.exit_code == 0, made.stderr
    assert json.loads(made.stdout)["computed"] == 6
    usual = ["--recipe", "star-dss", "--scores", scores, "--device", "cpu", "--precision", "float32"]
    usual += ["--max-steps", "2", "--batch-size", "4", "--gradient-accumulation-steps", "1", "--lora-r", "2"]
    planned = holisafe("tune", model, "--data", data, *usual, "--dry-run", "--json")
    assert planned.exit_code == 0, planned.stderr
    assert "guard" not in json.loads(planned.stdout)["learned"]
    told = holisafe("tune", model, "--data", data, *usual, "--out", str(tmp_path / "run"), "--logging-steps", "1")
    assert told.exit_code == 0, told.stderr
    assert "loss_reference" in told.stdout
    again = holisafe("tune", model, "--data", data, *usual, "--out", str(tmp_path / "run"), "--logging-steps", "1")
    assert again.exit_code == 0 and "it was tuned already" in again.stderr
    card = (tmp_path / "run" / "tuned" / "README.md").read_text()
    assert str(tmp_path) not in card and "STAR-DSS" in card


def test_scores_of_other_data_are_refused_before_the_model_is_loaded(place: Path, tmp_path: Path) -> None:
    scores = write(tmp_path / "scores.jsonl", safety(3))
    told = holisafe(
        "tune", "no/such-model", "--data", str(place / "data"), "--method", "star-dss", "--scores", str(scores)
    )
    assert told.exit_code == 2
    assert told.stderr.count("error: ") == 1 and "sample s3: holds no scores" in told.stderr


def test_the_joint_head_is_needed() -> None:
    made = tiny("llava")
    guard(made, joint_head=False)
    with pytest.raises(GuardError, match="has no joint head"):
        OwnGuard(LoadedModel(made.model, made.processor, "tiny"))
