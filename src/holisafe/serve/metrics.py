"""Prometheus metrics, with vLLM's suffixes where it measures the same."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from holisafe.guard import Decision
from holisafe.records import AnswerVerdict, GuardVerdict

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048)
_PROBABILITY = tuple(step / 20 for step in range(1, 21))


class Metrics:
    """What a server counts and measures; one object per server.

    No label holds anything of a request but names that this package knows.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.running = Gauge("holisafe:num_requests_running", "Requests that are answered now.", registry=self.registry)
        self.prompt_tokens = Counter("holisafe:prompt_tokens", "Tokens of prompts.", registry=self.registry)
        self.generation_tokens = Counter("holisafe:generation_tokens", "Tokens of answers.", registry=self.registry)
        self.first_token = Histogram(
            "holisafe:time_to_first_token_seconds",
            "Seconds from the request to the first piece of the answer.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.latency = Histogram(
            "holisafe:e2e_request_latency_seconds",
            "Seconds from the request to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.success = Counter(
            "holisafe:request_success", "Answers, by why they ended.", ["finished_reason"], registry=self.registry
        )
        self.failure = Counter(
            "holisafe:request_failure",
            "Requests answered with an error, or with a stream that ends with one.",
            ["status"],
            registry=self.registry,
        )
        self.rejected = Counter(
            "holisafe:admission_rejections",
            "Requests turned away before they were read.",
            ["reason"],
            registry=self.registry,
        )
        self.dropped = Counter(
            "holisafe:connections_dropped",
            "Connections that were closed, by why: slow_header, slow_reader or full.",
            ["reason"],
            registry=self.registry,
        )
        self.review = Counter(
            "holisafe:review_records",
            "Requests drawn for review, by what came of it: kept, full, busy or failed.",
            ["outcome"],
            registry=self.registry,
        )
        self.cancelled = Counter("holisafe:request_cancelled", "Requests whose client left.", registry=self.registry)
        self.verdicts = Counter(
            "holisafe:verdicts",
            "Verdicts, by the reason for the flag and what it led to.",
            ["label", "action"],
            registry=self.registry,
        )
        self.guard_seconds = Histogram(
            "holisafe:guard_seconds",
            "Seconds from the request to its verdict.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.request_score = Histogram(
            "holisafe:joint_score",
            "Probability of unsafe by the verdict on the whole request.",
            buckets=_PROBABILITY,
            registry=self.registry,
        )
        self.image_score = Histogram(
            "holisafe:image_score", "Probability of unsafe of each image.", buckets=_PROBABILITY, registry=self.registry
        )
        self.output_verdicts = Counter(
            "holisafe:output_verdicts",
            "Verdicts on answers, by the reason for the flag and what it led to.",
            ["label", "action"],
            registry=self.registry,
        )
        self.output_score = Histogram(
            "holisafe:output_score",
            "Highest probability of harm of each answer that was judged.",
            buckets=_PROBABILITY,
            registry=self.registry,
        )
        self.output_stopped = Histogram(
            "holisafe:output_stopped_tokens",
            "Tokens generated of answers that were stopped.",
            buckets=_TOKENS,
            registry=self.registry,
        )
        self.unjudged = Counter("holisafe:unjudged", "Requests that the guard could not judge.", registry=self.registry)
        self.fail_open = Counter(
            "holisafe:fail_open",
            "Requests answered in block mode though the guard could not judge them.",
            registry=self.registry,
        )
        self.cache_queries = Counter(
            "holisafe:mm_cache_queries", "Images looked up among those judged.", registry=self.registry
        )
        self.cache_hits = Counter("holisafe:mm_cache_hits", "Images whose verdict was known.", registry=self.registry)
        self.upstream_errors = Counter(
            "holisafe:upstream_errors", "Failures of the server behind, by kind.", ["kind"], registry=self.registry
        )
        self.other_model = Counter(
            "holisafe:upstream_other_model",
            "Answers of the server behind that name another model.",
            registry=self.registry,
        )

    def judged(self, verdict: GuardVerdict, decision: Decision, action: str) -> None:
        """Count a verdict.

        Args:
            verdict: It.
            decision: What came of it.
            action: "pass", "observe" or "block".
        """
        label = "safe" if decision.reason is None else decision.reason.value
        self.verdicts.labels(label, action).inc()
        if verdict.request is not None:
            self.request_score.observe(verdict.request.unsafe)
        for image in verdict.images:
            self.image_score.observe(image.unsafe)

    def judged_answer(self, verdict: AnswerVerdict, action: str) -> None:
        """Count a verdict on an answer.

        Args:
            verdict: It.
            action: "pass", "observe" or "block".
        """
        kinds = verdict.categories
        label = max(kinds, key=kinds.__getitem__).value if verdict.flagged and kinds else "safe"
        self.output_verdicts.labels(label, action).inc()
        self.output_score.observe(verdict.unsafe)
        if action == "block" and verdict.flagged_at is not None:
            self.output_stopped.observe(verdict.flagged_at)

    def text(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self.registry)
