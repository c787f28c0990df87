"""Finds the receivers in a config: the servers to which records, checkpoints and spans are sent."""

from collections.abc import Iterator
from dataclasses import dataclass

from authz.adapters.audit.settings import HttpSinkSettings, SyslogSinkSettings
from authz.adapters.receiver_settings import OtlpSettings, ReceiverTlsSettings
from authz.config import Config, Place


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver.

    Attributes:
        place: of its settings.
        address_place: of its URL or address.
        url: its URL; of an address, one with its host.
        tls: what TLS towards it takes.
        token_file: the file of the token that it gets.
    """

    place: Place
    address_place: Place
    url: str
    tls: ReceiverTlsSettings
    token_file: str | None = None


def receivers(config: Config) -> Iterator[Receiver]:
    """Yield each receiver of a config, in its order."""
    for at, sink in enumerate(config.audit.sinks):
        for kind, one in (("http", sink.http), ("otlp", sink.otlp), ("syslog", sink.syslog)):
            if one is not None:
                yield _receiver(("audit", "sinks", at, kind), one)
    for at, witness in enumerate(config.audit.chain.witnesses if config.audit.chain else ()):
        if witness.url is not None:
            place: Place = ("audit", "chain", "witnesses", at)
            yield Receiver(place, (*place, "url"), witness.url, witness.tls)
    if config.traces is not None:
        yield _receiver(("traces", "otlp"), config.traces.otlp)


def _receiver(place: Place, one: HttpSinkSettings | OtlpSettings | SyslogSinkSettings) -> Receiver:
    if isinstance(one, SyslogSinkSettings):
        return Receiver(place, (*place, "address"), f"syslog://{one.address}", one.tls)
    key, url = ("url", one.url) if isinstance(one, HttpSinkSettings) else ("endpoint", one.endpoint)
    return Receiver(place, (*place, key), url, one.tls, one.token_file)
