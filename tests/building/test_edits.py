from __future__ import annotations

import base64
import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from drawn_pictures import rows_of, settings, with_model
from holisafe.bench import Prices
from holisafe.building import Built, Editor, _edits, build, plan_build
from holisafe.errors import BudgetError, ModelError, RunError
from holisafe.metrics import twin_pairs

Reply = Callable[[bytes], tuple[int, Any]]


def edited(picture: bytes) -> tuple[int, Any]:
    """The picture with another corner, as the endpoint returns it."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.paste((250, 250, 250), (0, 0, 20, 20))
    file = io.BytesIO()
    image.save(file, "PNG")
    return 200, {"created": 1, "data": [{"b64_json": base64.b64encode(file.getvalue()).decode()}]}


def returned(data: bytes) -> Reply:
    return lambda _: (200, {"created": 1, "data": [{"b64_json": base64.b64encode(data).decode()}]})


def error(status: int, message: str) -> Reply:
    return lambda _: (status, {"error": {"message": message, "type": "x", "param": None, "code": None}})


@contextlib.contextmanager
def endpoint(reply: Reply = edited) -> Iterator[tuple[Editor, list[dict[str, bytes]]]]:
    """An images/edits server on loopback, and what it was sent."""
    asked: list[dict[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            parts = BytesParser(policy=HTTP).parsebytes(head + body).iter_parts()  # type: ignore[attr-defined]
            found = {
                part.get_param("name", header="content-disposition"): part.get_payload(decode=True) for part in parts
            }
            asked.append({"path": self.path.encode(), **found})
            status, told = reply(found["image"])
            data = told if isinstance(told, bytes) else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield Editor(f"http://127.0.0.1:{server.server_address[1]}/v1", "scripted-editor", 0.5), asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reasons(data: Path) -> set[str]:
    return {row.get("reason", "").partition(":")[0] for row in rows_of(data, "edits") if row["status"] != "ok"}


def all_samples(built: Built) -> list[Any]:
    return [sample for found in built.samples.values() for sample in found]


def test_an_edited_picture_is_the_twin_in_the_split_and_group_of_its_own(tmp_path: Path) -> None:
    with endpoint() as (editor, asked):
        built = build(settings(tmp_path, editor=editor))
        again = build(settings(tmp_path, editor=editor))
    assert all_samples(again) == all_samples(built)
    made = {row["edited_digest"]: row["digest"] for row in rows_of(tmp_path / "data", "edits")}
    assert len(asked) == len(made) == 11  # ten unsafe pictures, and one request that is unsafe with its picture
    samples = {sample.id: sample for sample in all_samples(built)}
    pairs = [(samples[a.id], samples[a.twin]) for a in samples.values() if a.images[0].digest in made and a.twin]
    assert pairs
    for one, other in pairs:
        assert made[one.images[0].digest] == other.images[0].digest
        assert (one.query, one.cluster, one.tags["split"]) == (other.query, other.cluster, other.tags["split"])
        assert one.combination == "SSS" and one.image_labels == ("safe",)
    assert "whether an edited picture is harmless" in built.not_checked
    assert twin_pairs(list(built.samples["train"]))


def test_the_endpoint_gets_the_picture_and_a_label_and_no_file_name(tmp_path: Path) -> None:
    with endpoint() as (editor, asked):
        build(settings(tmp_path, editor=editor))
    assert {each["path"] for each in asked} == {b"/v1/images/edits"}
    prompts = [each["prompt"].decode() for each in asked]
    assert any("no longer shows weapon related violence" in prompt for prompt in prompts)
    assert not any("unsafe-" in prompt or "safe-0" in prompt for prompt in prompts)
    assert sum("<request " in prompt for prompt in prompts) == 1  # a request is marked as material


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (lambda picture: returned(picture)(picture), "same bytes"),
        (returned(b"no picture"), "unreadable"),
        (lambda _: (200, {"created": 1, "data": [{"url": "http://127.0.0.1:1/x.png"}]}), "wrong reply"),
        (lambda _: (200, {"created": 1, "data": [{"b64_json": "!"}]}), "wrong reply"),
        (lambda _: (200, {"created": 1}), "wrong reply"),
        (error(400, "the safety system has refused"), "refused"),
    ],
)
def test_what_is_no_edited_picture_is_a_row_and_the_nearest_one_is_taken(
    tmp_path: Path, reply: Reply, kind: str
) -> None:
    with endpoint(reply) as (editor, _):
        built = build(settings(tmp_path, editor=editor))
    assert reasons(tmp_path / "data") == {kind}
    counts = {each.step: each for each in built.counts}
    assert counts["edits"].kept == 0
    assert counts["twins"].kept == counts["twins"].given == 11


def test_an_endpoint_that_replies_in_prose_ends_the_run_and_the_next_one_tries_again(tmp_path: Path) -> None:
    with endpoint(lambda _: (200, b"Sure, here is your picture!")) as (editor, asked):
        with pytest.raises(ModelError, match="failed 5 times in a row"):
            build(settings(tmp_path, editor=editor))
        assert len(asked) == 5
    with endpoint() as (editor, asked):
        assert build(settings(tmp_path, editor=editor)).errors == 0
    assert len(asked) == 11


def test_a_wrong_key_ends_the_run_with_what_to_check(tmp_path: Path) -> None:
    with endpoint(error(401, "wrong key")) as (editor, asked), pytest.raises(ModelError, match="OPENAI_API_KEY"):
        build(settings(tmp_path, editor=editor))
    assert len(asked) == 1


def test_the_budget_counts_edits_and_a_larger_one_resumes(tmp_path: Path) -> None:
    with endpoint() as (editor, asked):
        with pytest.raises(BudgetError, match=r"budget of 2\.20: .*larger --budget resumes.*have cost 2\.00"):
            build(settings(tmp_path, editor=editor, budget=2.2))
        assert len(asked) == 4
        with pytest.raises(BudgetError):
            build(settings(tmp_path, editor=editor, budget=2.2))
        assert len(asked) == 4
        build(settings(tmp_path, editor=editor, budget=100.0))
    assert len(asked) == 11
    with pytest.raises(RunError, match="--edit-price"):
        settings(tmp_path, editor=Editor("http://x/v1", "m"), budget=1.0)


def test_the_plan_counts_edits_and_their_money(tmp_path: Path) -> None:
    editor = Editor("http://127.0.0.1:1/v1", "scripted-editor", 0.5)
    given = settings(tmp_path, editor=editor, model="mockllm/model", prices=Prices(1, 1, 1, 1))
    part = plan_build(given).parts[-1]
    assert (part.name, part.model, part.calls, part.money) == ("edits", "scripted-editor", 20, 10.0)


def test_without_a_model_the_plan_counts_edits_alone(tmp_path: Path) -> None:
    given = settings(tmp_path, editor=Editor("http://127.0.0.1:1/v1", "scripted-editor"))
    (part,) = plan_build(given).parts
    assert (part.calls, part.money) == (20, None)


def test_a_guard_must_see_the_edited_picture_as_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flags_all(pictures: list[Any], scanner: Any) -> Iterator[dict[str, Any]]:
        yield from ({"flagged": True} for _ in pictures)

    monkeypatch.setattr(_edits, "guard_rows", flags_all)
    with endpoint() as (editor, _):
        build(settings(tmp_path, editor=editor, guard="my-guard"))
    assert reasons(tmp_path / "data") == {"still flagged"}


def test_voters_see_the_edited_picture_too(tmp_path: Path) -> None:
    with endpoint() as (editor, _):
        built = with_model(tmp_path, editor=editor)
    counts = {each.step: each for each in built.counts}
    # the scripted voter takes pictures for safe whose files are called so, and an edited one has another name
    assert counts["check of twins"].reasons == {"combination": counts["check of twins"].given}
