"""What the gateway counts, for Prometheus. Each gateway has its own registry, so that two can live in one process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class Metrics:
    """All counters and gauges of one gateway."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.requests = Counter("ratchet_gateway_requests", "Requests answered.", ["route", "code"], registry=registry)
        self.latency = Histogram(
            "ratchet_gateway_request_seconds", "From a request to its answer.", ["route"],
            buckets=BUCKETS, registry=registry,
        )  # fmt: skip
        self.model_latency = Histogram(
            "ratchet_gateway_model_seconds", "What models took to answer.", ["model", "version"],
            buckets=BUCKETS, registry=registry,
        )  # fmt: skip
        self.answers = Counter(
            "ratchet_gateway_answers", "Answers of models by outcome.",
            ["model", "version", "arm", "status"], registry=registry,
        )  # fmt: skip
        self.events = Counter(
            "ratchet_gateway_events", "Events received by outcome: appended, duplicate, rejected.", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self.dropped = Counter(
            "ratchet_gateway_dropped", "What was given up: shadow answers, log lines.", ["what"], registry=registry
        )
        self.refreshes = Counter(
            "ratchet_gateway_refreshes", "Looks at registry and experiments by outcome.", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self.backlog = Gauge(
            "ratchet_gateway_spool_bytes", "Bytes of answers that are not in the log yet.", registry=registry
        )
        self.snapshot_age = Gauge(
            "ratchet_gateway_snapshot_age_seconds", "Since routing was last confirmed; -1 for never.",
            registry=registry,
        )  # fmt: skip
        self.loaded = Gauge("ratchet_gateway_loaded", "Loaded versions.", ["model", "version"], registry=registry)

    def page(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)
