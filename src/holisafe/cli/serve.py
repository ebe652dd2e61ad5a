"""`holisafe serve`: a guarded model behind OpenAI's API."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holisafe.cli._options import Device, Dtype

if TYPE_CHECKING:
    from holisafe.serve import Compared, KeyRing, ReviewSample, Settings


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("serve", no_args_is_help=True)(serve)


def serve(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", help="Model that answers: pocket-safe, a folder with a checkpoint, or a Hub id."
        ),
    ] = None,
    guard: Annotated[
        str | None,
        typer.Option(
            help="Folder or Hub id of the guard; with --upstream a model with a guard of its own.",
            show_default="the model's own",
        ),
    ] = None,
    upstream: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Let this server answer in place of MODEL, such as http://127.0.0.1:8001/v1; needs --guard. Its "
            "key is read from the environment variable HOLISAFE_UPSTREAM_KEY.",
            show_default="none",
        ),
    ] = None,
    states: Annotated[
        str | None,
        typer.Option(
            metavar="[sglang:]URL",
            help="With --upstream, judge requests by this engine's hidden states: a vLLM that serves the guard's model "
            "with --runner pooling --convert embed, or an SGLang (sglang:URL) started with "
            "--enable-return-hidden-states. Its key is read from HOLISAFE_STATES_KEY.",
            show_default="none: images alone are judged",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name by which clients ask for the model.", show_default="MODEL, or all that URL lists"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; all but loopback need --api-keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for a free one.")] = 8000,
    api_keys: Annotated[
        Path | None, typer.Option(help="File of API keys, one JSON object per line.", show_default="none")
    ] = None,
    new_key: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Make an API key: the key goes to standard error, its entry for --api-keys to standard output.",
            show_default="none",
        ),
    ] = None,
    policy: Annotated[
        str, typer.Option(help="What a flag leads to: score (reported) or block (refused). Clients may ask for block.")
    ] = "score",
    output_policy: Annotated[
        str | None,
        typer.Option(
            help="What a flag on an answer leads to: score or block; needs a guard with an output head. Clients may "
            "ask for block.",
            show_default="answers are judged where a client asks for it",
        ),
    ] = None,
    output_every: Annotated[int, typer.Option(min=1, help="Tokens between two checks of an answer.")] = 16,
    decide_by: Annotated[str, typer.Option(help="Verdict that flags: request, image or either.")] = "request",
    fail_open: Annotated[
        bool, typer.Option("--fail-open", help="With block, answer also where the guard cannot judge; counted.")
    ] = False,
    image_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST",
            help="Fetch images from this host over https; may be given more than once.",
            show_default="none",
        ),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Largest max_tokens of a request.")] = 2048,
    max_concurrent: Annotated[int, typer.Option(min=1, help="Requests answered at once.")] = 64,
    batch_size: Annotated[int, typer.Option(min=1, help="Requests answered in one batch.")] = 16,
    log_content: Annotated[
        bool, typer.Option("--log-content", help="Write prompts and answers to the log; images never.")
    ] = False,
    review_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep a random sample of verdicts there, as review.jsonl: digests and scores, no texts.",
            show_default="none",
        ),
    ] = None,
    review_rate: Annotated[float, typer.Option(help="With --review-dir: share of requests that are kept.")] = 0.01,
    review_images: Annotated[
        bool, typer.Option("--review-images", help="With --review-dir: keep the images of these requests, too.")
    ] = False,
    ui: Annotated[bool, typer.Option("--ui", help="Serve a page at / to ask by hand and see every verdict.")] = False,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="With --ui: a second model, without a guard, whose answers the page shows beside, such as pocket.",
            show_default="none",
        ),
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    check: Annotated[
        bool, typer.Option("--check", help="Load everything, say what would be served, and exit.")
    ] = False,
) -> None:
    """Serve a guarded model behind OpenAI's API.

    Chat completions, responses and moderations, with images. Every answer carries the guard's verdict, made before the
    first token. The log is JSON on standard error.
    """
    import asyncio

    from holisafe.errors import RunError
    from holisafe.serve import KeyRing, Limits, ReviewSample, Settings, check_bind, read_keys, share_memory
    from holisafe.serve import new_key as make_key
    from holisafe.serve.playground import check_compare
    from holisafe.serve.review import check_rate

    if new_key is not None:
        key, entry = make_key(new_key)
        typer.echo(f"the key, shown once: {key}", err=True)
        typer.echo(json.dumps(asdict(entry)))
        return
    share_memory()
    if (model is None) == (upstream is None):
        raise RunError("name a model, as in `holisafe serve pocket-safe`, or --upstream URL with --guard; one of them")
    if upstream is not None and guard is None:
        raise RunError("--upstream needs --guard: a model with a guard of its own, such as pocket-safe")
    if states is not None and upstream is None:
        raise RunError("--states goes with --upstream; a model of this process reads its own hidden states")
    keys = KeyRing(() if api_keys is None else read_keys(api_keys))
    check_bind(host, keys)
    limits = Limits(
        new_tokens=max_new_tokens,
        default_new_tokens=min(max_new_tokens, Limits().default_new_tokens),
        concurrency=max_concurrent,
    )
    settings = Settings(
        policy=policy,  # type: ignore[arg-type]  # parsed there
        decide_by=decide_by,  # type: ignore[arg-type]
        output_policy=output_policy,  # type: ignore[arg-type]
        output_every=output_every,
        fail_open=fail_open,
        limits=limits,
        image_hosts=frozenset(image_host or ()),
        log_content=log_content,
    )
    if compare is not None:
        if not ui:
            raise RunError("--compare shows a second model on the page of --ui; give it, too")
        check_compare(settings)
    if review_images and review_dir is None:
        raise RunError("--review-images keeps images in the folder that --review-dir names; give it, too")
    if review_dir is not None:
        check_rate(review_rate)
    if model is not None:
        backend = _engine(model, guard, name, batch_size, device, dtype)
    else:
        backend = _proxy(str(upstream), str(guard), states, name, batch_size, device, dtype)
    if settings.output_policy is not None and not backend.judges_output:
        asyncio.run(backend.close())
        raise RunError(
            "--output-policy needs a MODEL whose guard has an output head; `holisafe guard train-output` adds one"
        )
    beside = None if compare is None else _compared(compare, batch_size, device, dtype)
    served = asyncio.run(_served(backend)) if check else []
    # the folder is made last: what cannot be served leaves none
    review = None if review_dir is None else ReviewSample(review_dir, rate=review_rate, pictures=review_images)
    if check:
        typer.echo(f"would serve {', '.join(served)} on http://{host}:{port}/v1, policy {settings.policy}")
        return
    _run(backend, settings, keys, review, beside, host, port, ui=ui)


def _engine(
    model: str, guard: str | None, name: str | None, batch_size: int, device: str | None, dtype: str | None
) -> Any:
    from holisafe.models import Engine, load
    from holisafe.serve import EngineBackend

    loaded = load(model, guard=guard or "own", device=device, dtype=dtype)
    engine = Engine(loaded.model, loaded.processor, batch_size=batch_size, window=0.01)
    return EngineBackend(engine, name or Path(model).name)


def _compared(model: str, batch_size: int, device: str | None, dtype: str | None) -> Compared:
    from holisafe.models import Engine, load
    from holisafe.serve import Compared, EngineBackend

    loaded = load(model, device=device, dtype=dtype)
    engine = Engine(loaded.model, loaded.processor, batch_size=batch_size, window=0.01)
    return Compared(Path(model).name, EngineBackend.unguarded(engine, Path(model).name))


def _proxy(
    upstream: str,
    guard: str,
    states: str | None,
    name: str | None,
    batch_size: int,
    device: str | None,
    dtype: str | None,
) -> Any:
    import os

    from holisafe.models import load
    from holisafe.serve import ImageGuard, ProxyBackend, Upstream

    behind = Upstream(upstream, api_key=os.environ.get("HOLISAFE_UPSTREAM_KEY"))
    loaded = load(guard, guard="own", device=device, dtype=dtype)
    images = ImageGuard(loaded.model, loaded.processor, batch_size=batch_size)
    requests = None if states is None else _requests(loaded, states)
    return ProxyBackend(behind, images, model=name, requests=requests)


def _requests(loaded: Any, states: str) -> Any:
    """What judges requests, once the engine's states are known to be those that the guard reads."""
    import asyncio
    import os

    from holisafe.serve import HiddenStates, PoolingStates, RequestGuard, Upstream

    def made() -> RequestGuard:
        engine = HiddenStates if states.startswith("sglang:") else PoolingStates
        server = Upstream(states.removeprefix("sglang:"), api_key=os.environ.get("HOLISAFE_STATES_KEY"))
        return RequestGuard(loaded.model, loaded.processor, engine(server))

    async def check() -> None:
        guard = made()  # of its own: connections belong to their event loop
        try:
            await guard.check()
        finally:
            await guard.close()

    asyncio.run(check())
    return made()


def _run(
    backend: Any,
    settings: Settings,
    keys: KeyRing,
    review: ReviewSample | None,
    compared: Compared | None,
    host: str,
    port: int,
    *,
    ui: bool,
) -> None:
    from holisafe.serve import Metrics, application, make_server
    from holisafe.serve.logs import configure
    from holisafe.serve.tracing import configure as configure_tracing

    metrics = Metrics()
    app = application(backend, settings, keys=keys, metrics=metrics, review=review, ui=ui, compared=compared)
    configure()
    configure_tracing()
    make_server(app, host, port, limits=settings.limits, metrics=metrics).run()


async def _served(backend: Any) -> list[str]:
    """Names of the models that would be served."""
    try:
        return list(await backend.models())
    finally:
        await backend.close()
