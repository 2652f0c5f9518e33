"""How the client's channel behaves: which failures it retries by itself, and how fast it connects."""

import json
from collections.abc import Sequence
from typing import Final

from bandit.core import limits

CHANNELS_MAX: Final = 64
"""As many as a server may have workers."""

_RESPONSE_BYTES = limits.BATCH_ITEMS * (limits.PAYLOAD_BYTES + limits.VARIANTS * (limits.ID_BYTES + 16))
"""The largest batch response: a payload and a distribution an item."""

_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "bandit.v1.BanditService"}],
            # A retry sends the same message, so the same decision id or reward key: the service answers with
            # what it stored. RESOURCE_EXHAUSTED is left out on purpose: an overloaded service says in its
            # RetryInfo when to come back, which a channel can't read, and retries sooner than that feed the
            # overload. The fallback answers at once instead, and BanditError.retry_after_s tells a reward's
            # caller.
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.01s",
                "maxBackoff": "0.05s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    # After five failures in a row the sidecar is down: calls then fail at the first attempt, so that a page
    # gets its fallback within a millisecond instead of after three backoffs, until calls succeed again.
    "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.5},
}

OPTIONS: Sequence[tuple[str, str | int]] = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ("grpc.enable_retries", 1),
    # A sidecar is back within seconds; grpc's own backoff, from 1 s up to 120 s, is for the internet.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Another client of this process that found the sidecar down must not make this one wait out its backoff,
    # and the channels of one client must not share a connection.
    ("grpc.use_local_subchannel_pool", 1),
    # grpc's own 4 MiB would turn a batch with large payloads, chosen and logged, into a failure.
    ("grpc.max_receive_message_length", _RESPONSE_BYTES),
    # http_proxy in the environment is meant for the outside world, and would break calls to a sidecar.
    ("grpc.enable_http_proxy", 0),
)


def checked(channels: int) -> int:
    """How many channels a client opens. Raises TypeError or ValueError."""
    if not isinstance(channels, int) or isinstance(channels, bool):
        raise TypeError(f"channels: a number of channels is an int, not {type(channels).__name__}")
    if not 1 <= channels <= CHANNELS_MAX:
        raise ValueError(f"channels: {channels} can't be opened; choose 1 to {CHANNELS_MAX}")
    return channels
