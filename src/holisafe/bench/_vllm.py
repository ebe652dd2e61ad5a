"""Answers of a local checkpoint by vLLM, with verdicts on its pictures by a guard beside it.

The guard's model reads the pictures first and is let go before the server starts, so that both need not fit in memory.
Requests go through Inspect's provider of OpenAI-compatible servers, and vLLM schedules them.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

from inspect_ai.model import GenerateConfig, Model

from holisafe.bench._evaluate import LOGS, open_model
from holisafe.bench._hosted import Traffic, close, in_loop, prepared
from holisafe.bench._names import LOCAL
from holisafe.bench._vllm_server import Address, Told, VllmOptions, vllm_server
from holisafe.errors import ImageError, ModelError, RunError
from holisafe.images import open_image
from holisafe.models import ModelSpec, load, registered_models
from holisafe.models.loading import LoadedModel, looks_local, tuned_model
from holisafe.records import GuardVerdict, ImageRef, ImageVerdict, Sample

PROVIDER = "openai-api/vllm/"
LOG = "vllm.log"
"""File below the run's logs with what the server says."""

GUARD = "of the images"
"""What progress calls the guard beside vLLM."""

KEY = "HOLISAFE_VLLM_KEY"
"""Variable of the environment with the key of a server that runs already; one without keys needs none."""

AT_ONCE = 16
"""Images in one forward pass of the guard."""


class EngineName(StrEnum):
    """What generates the answers of a local model."""

    TRANSFORMERS = "transformers"
    VLLM = "vllm"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What vLLM is to serve.

    Attributes:
        source: Folder or Hub id; of a model that has to be put together, its name.
        described: What the answers depend on, for `run.json`.
        loaded: The model in this process, where its guard judges or it has to be put together; None else.
        is_saved: Whether vLLM can load `source` as it is.
    """

    source: str
    described: dict[str, Any]
    loaded: LoadedModel | None
    is_saved: bool


@contextlib.contextmanager
def open_vllm(
    name: str,
    options: Mapping[str, Any],
    vllm: VllmOptions,
    folder: Path,
    samples: Sequence[Sample],
    traffic: Traffic,
    note: Callable[[dict[str, Any]], None],
    on_verdict: Callable[[str, int, int], None] | None,
    told: Told | None,
) -> Iterator[tuple[Model, Callable[[Sample], GuardVerdict] | None]]:
    """A local model with vLLM in its place, as long as the server runs, and the verdicts of its guard.

    Args:
        name: Inspect's name of the local model.
        options: Of the run.
        vllm: How vLLM is reached.
        folder: Folder of the run.
        samples: Those whose images are judged, where there is a guard.
        traffic: Where requests are counted.
        note: Called with what the answers depend on, before anything is judged or started.
        on_verdict: Called while images are judged.
        told: Called while the server starts.

    Raises:
        ModelError: The model cannot be loaded.
        GuardError: The guard does not fit, or judges no images.
        MissingDependencyError: There is no vLLM.
        RunError: The server does not start, or does not serve the model.
    """
    with contextlib.ExitStack() as stack:
        checkpoint = read_checkpoint(name, options, vllm)
        note(checkpoint.described)
        verdict_of = None
        if options["guard"] is not None and checkpoint.loaded is not None:
            verdict_of = judge_images(checkpoint.loaded, samples, partial(on_verdict, GUARD) if on_verdict else None)
        place = checkpoint.source
        if vllm.base_url is None and not checkpoint.is_saved:
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="holisafe-vllm-"))
            _save(checkpoint, Path(place))
        checkpoint = replace(checkpoint, loaded=None)  # its memory is the server's from now on
        yield stack.enter_context(_served(checkpoint, place, options, vllm, folder, traffic, told)), verdict_of


def read_checkpoint(name: str, options: Mapping[str, Any], vllm: VllmOptions) -> Checkpoint:
    """What vLLM is to serve, and what there is to know of it.

    Args:
        name: Inspect's name of the local model.
        options: Of the run: fields of a `ModelSpec`.
        vllm: How vLLM is reached.

    Raises:
        ModelError: It cannot be loaded, or there is no such folder.
        GuardError: The guard does not fit.
    """
    from holisafe.bench._provider import describe_guard, weights_hash

    name = name.removeprefix(LOCAL)
    source, is_saved = _source(name)
    described: dict[str, Any] = {"id": name, "engine": EngineName.VLLM.value, "revision": options["revision"]}
    described |= {"dtype": options["dtype"] or "auto", "guard": None}
    if vllm.base_url is not None:
        described["base_url"] = vllm.base_url
    has_own_server = vllm.base_url is None
    if options["guard"] is None and (is_saved or not has_own_server):
        if looks_local(source):
            if has_own_server and not (Path(source) / "config.json").is_file():
                raise ModelError(f"{source}: config.json is missing, so this is no checkpoint that vLLM can serve")
            described["weights_sha256"] = weights_hash(Path(source))
        return Checkpoint(source, described, None, is_saved)
    fields = ("device", "dtype", "revision", "trust_remote_code", "guard")
    loaded = load(ModelSpec.parse(name, **{field: options[field] for field in fields}))
    described["weights_sha256"] = weights_hash(Path(loaded.model.name_or_path))
    if loaded.guard is not None:
        described["guard"] = describe_guard(loaded.model, loaded.guard)
    return Checkpoint(source, described, loaded, is_saved)


def check_served(name: str, vllm: VllmOptions) -> None:
    """Refuse a server that runs already, before anything is written, where it does not serve the model.

    Args:
        name: Inspect's name of the local model.
        vllm: How vLLM is reached.

    Raises:
        RunError: It is not there, or serves something else.
    """
    if vllm.base_url is not None:
        _check_serves(_address(vllm.base_url), _source(name.removeprefix(LOCAL))[0])


def _source(name: str) -> tuple[str, bool]:
    """The checkpoint of a local model, and whether it is one that vLLM can load as it is."""
    is_saved = name not in registered_models() and tuned_model(name) is None
    return str(Path(name).expanduser()) if is_saved and looks_local(name) else name, is_saved


def _address(base_url: str) -> Address:
    return Address(base_url.rstrip("/"), os.environ.get(KEY, "none"))


@contextlib.contextmanager
def _served(
    checkpoint: Checkpoint,
    place: str,
    options: Mapping[str, Any],
    vllm: VllmOptions,
    folder: Path,
    traffic: Traffic,
    told: Told | None,
) -> Iterator[Model]:
    """The model at `place`, behind a server and Inspect's interface."""
    served = checkpoint.source
    with contextlib.ExitStack() as stack:
        if vllm.base_url is not None:
            address = _address(vllm.base_url)
            _check_serves(address, served)
        else:
            arguments, log = _arguments(checkpoint, options), folder / LOGS / LOG
            address = stack.enter_context(vllm_server(place, served, vllm, arguments, log, told))
        body = {"chat_template_kwargs": options["chat_template_args"]} if options["chat_template_args"] else None
        config = GenerateConfig(max_connections=options["batch_size"], extra_body=body)
        reached = {"base_url": address.base_url, "api_key": address.api_key, "config": config}
        model = prepared(open_model(PROVIDER + served, reached), traffic)
        try:
            yield model
        finally:
            in_loop(lambda: close(model))


def _arguments(checkpoint: Checkpoint, options: Mapping[str, Any]) -> list[str]:
    """What of the run's options vLLM has to be told."""
    given = ["--dtype", str(options["dtype"] or ("auto" if checkpoint.is_saved else "float32"))]
    if options["revision"] is not None:
        given += ["--revision", str(options["revision"])]
    if options["trust_remote_code"]:
        given.append("--trust-remote-code")
    if not checkpoint.is_saved:  # vLLM's own LLaVA does not know the names that transformers 5 gives a built model
        given += ["--model-impl", "transformers"]
    return given


def _save(checkpoint: Checkpoint, place: Path) -> None:
    """Write the model without its guard, as vLLM loads it."""
    from holisafe.guard import detach_guard

    assert checkpoint.loaded is not None
    model, processor = checkpoint.loaded
    if checkpoint.loaded.guard is not None:
        detach_guard(model)
    try:
        model.save_pretrained(place)
        processor.save_pretrained(place)
    except OSError as error:
        raise RunError(f"cannot write a checkpoint for vLLM to {place}: {error.strerror or error}") from error


def _check_serves(address: Address, name: str) -> None:
    """Refuse a server that is not there, or serves something else.

    Raises:
        RunError: It is so.
    """
    where, headers = f"--base-url {address.base_url}", {"Authorization": f"Bearer {address.api_key}"}
    request = urllib.request.Request(f"{address.base_url}/models", headers=headers)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as reply:
            found = [each["id"] for each in json.load(reply)["data"]]
    except urllib.error.HTTPError as error:
        hint = f"; its key is read from {KEY}" if error.code in (401, 403) else ""
        raise RunError(f"{where}: it answers with status {error.code}{hint}") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError, HTTPException) as error:
        why = "it does not answer as a vLLM" if not isinstance(error, OSError) else "it cannot be reached"
        raise RunError(f"{where}: {why} ({error}); expected an address such as http://HOST/v1") from error
    if name not in found:
        served = ", ".join(map(str, found))
        raise RunError(f"{where} serves {served}, not {name}; start vLLM with --served-model-name {name}")


def judge_images(
    loaded: LoadedModel, samples: Sequence[Sample], told: Callable[[int, int], None] | None = None
) -> Callable[[Sample], GuardVerdict]:
    """Have a guard judge the pictures of samples, each once; an image that cannot be read has no verdict.

    Args:
        loaded: A model with a guard that judges images.
        samples: The samples.
        told: Called with the number of images judged and of all.

    Returns:
        What gives the verdict of a sample: one per image; none where one of its images has none.

    Raises:
        GuardError: The guard has no image head, or an image's features are not finite.
    """
    images = list({image.identity: image for sample in samples for image in sample.images}.values())
    known: dict[str, ImageVerdict] = {}
    for start in range(0, len(images), AT_ONCE):
        known |= _judged(loaded, images[start : start + AT_ONCE])
        if told is not None:
            told(min(start + AT_ONCE, len(images)), len(images))

    def verdict_of(sample: Sample) -> GuardVerdict:
        found = [known.get(image.identity) for image in sample.images]
        return GuardVerdict(tuple(each for each in found if each is not None)) if None not in found else GuardVerdict()

    return verdict_of


def _judged(loaded: LoadedModel, images: Sequence[ImageRef]) -> dict[str, ImageVerdict]:
    from holisafe.guard import classify_images

    opened = {}
    for image in images:
        with contextlib.suppress(ImageError):  # the sample's own request says what is wrong with it
            opened[image.identity] = open_image(image)
    verdicts = classify_images(loaded.model, opened.values(), processor=loaded.processor, batch_size=AT_ONCE)
    return dict(zip(opened, verdicts, strict=True))


def check_vllm_options(options: Mapping[str, Any]) -> None:
    """Refuse options of a local model that vLLM has no counterpart of.

    Raises:
        ModelError: One is given.
    """
    for field, instead in _NOT_FOR_VLLM.items():
        if options.get(field) is not None:
            raise ModelError(f"--engine vllm has no {field}; {instead}")


_NOT_FOR_VLLM = {
    "device_map": "give --vllm-args tensor-parallel-size=N for several devices",
    "quantization": "give --vllm-args quantization=NAME",
    "attention": "vLLM chooses its own",
    "defence": "defences work inside the engine transformers",
}
