"""The ``audit`` section of the config."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from authz.adapters.audit.redaction_settings import RedactionSettings
from authz.adapters.receiver_settings import (
    LOGS_PATH,
    TRACES_PATH,
    Headers,
    OtlpSettings,
    ReceiverTlsSettings,
    is_otlp_installed,
    require_no_tls,
    require_one_credential,
    require_private,
)
from authz.core.choice import Choice
from authz.core.extras import missing_extra
from authz.core.settings import (
    Duration,
    FileText,
    LaterFileText,
    MisfitError,
    RemoteAddress,
    Settings,
)
from authz.core.urls import check_url

STANDARD_OUTPUT: Final = "-"
SINK_KINDS: Final = ("path", "http", "otlp", "syslog")
_NAME: Final = r"^[a-z0-9][a-z0-9-]{0,31}$"


class WhenFull(Choice):
    """The ways to treat an allow that can't be recorded."""

    DROP = "drop"
    DENY = "deny"


class SpoolSettings(Settings):
    """Records kept on disk while their receiver is away, and across restarts."""

    folder: str = Field(min_length=1)
    """A folder for the server alone, which it creates with mode 0700. Each worker has files of its
    own in it.
    """
    max_megabytes: int = Field(default=1024, ge=1, le=1_048_576)
    """The disk space that the records may take, in MiB, for each worker."""


class HttpSinkSettings(Settings):
    """Batches of records as JSON lines (application/x-ndjson), each sent in a POST."""

    url: Annotated[str, AfterValidator(check_url)]
    """URL that takes the batches. An answer of 2xx takes a batch."""
    token_file: LaterFileText | None = None
    """A file with a bearer token for the receiver, read anew for each connection."""
    headers: Headers = Field(default={})
    """Further headers of each request. Secrets belong into token_file."""
    tls: ReceiverTlsSettings = ReceiverTlsSettings()
    """TLS towards the receiver."""
    insecure: bool = False
    """Accept plain http://: anyone on the network path can then read and change records."""
    timeout: Duration = Field(default=10.0, ge=0.1, le=300.0)
    """The longest time that a request may take."""

    @model_validator(mode="after")
    def _nobody_on_the_way(self) -> Self:
        return require_private(self, self.url, self.tls, insecure=self.insecure)

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        return require_one_credential(self, self.headers, self.token_file)


class SyslogSinkSettings(Settings):
    """Records as syslog messages (RFC 5424), over TLS (RFC 5425).

    Syslog acknowledges nothing. If a connection is cut soon after a batch, that is sent again, so
    that some records arrive twice; earlier ones that the receiver's machine had and the receiver
    had not read are lost. Use otlp or http where none may be.
    """

    address: RemoteAddress
    """host:port of the receiver; 6514 is the port of syslog over TLS. Its certificate must be for
    this host.
    """
    facility: int = Field(default=13, ge=0, le=23)
    """The facility (RFC 5424 section 6.2.1): 13 is log audit, 10 is authpriv, 16 is local0."""
    tls: ReceiverTlsSettings = ReceiverTlsSettings()
    """TLS towards the receiver."""
    insecure: bool = False
    """Use plain TCP (RFC 6587): anyone on the network path can then read and change records."""
    timeout: Duration = Field(default=10.0, ge=0.1, le=300.0)
    """The longest time that connecting and writing may take."""

    @model_validator(mode="after")
    def _tls_is_used(self) -> Self:
        return require_no_tls(self, self.tls) if self.insecure else self


class SinkSettings(Settings):
    """A place to which each record goes, independently of the other places."""

    name: str | None = Field(default=None, pattern=_NAME)
    """The sink's name in metrics and the log. Left out, it is its kind: file, stdout, http, otlp or
    syslog; two of a kind need names.
    """
    path: str | None = Field(default=None, min_length=1)
    """A file, or - for standard output. The server creates the file for its owner only (0600), and
    reopens it on SIGHUP, for log rotation. A named pipe needs a reader when the server starts.
    """
    http: HttpSinkSettings | None = None
    """In place of path: batches of JSON lines, sent by POST."""
    otlp: OtlpSettings | None = None
    """In place of path: OpenTelemetry log records."""
    syslog: SyslogSinkSettings | None = None
    """In place of path: syslog messages."""
    queue: int = Field(default=10_000, ge=1, le=10_000_000)
    """Records that may wait for this sink in memory."""
    spool: SpoolSettings | None = None
    """Disk space for records that wait while a receiver is away; for http, otlp and syslog."""
    when_full: WhenFull = WhenFull.DROP
    """What to do while records can't be kept for this sink. drop: allow, and count the records that
    it misses. deny: refuse requests that can't be recorded.
    """

    @property
    def kind(self) -> str:
        """Return the kind of the sink: file, stdout, http, otlp or syslog."""
        if self.path is not None:
            return "stdout" if self.path == STANDARD_OUTPUT else "file"
        return next(kind for kind in SINK_KINDS if getattr(self, kind) is not None)

    @property
    def label(self) -> str:
        """Return the sink's name in metrics and the log."""
        return self.name or self.kind

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in SINK_KINDS if getattr(self, kind) is not None]
        if not given:
            raise ValueError(f"a sink needs one of {', '.join(SINK_KINDS)}")
        if len(given) > 1:
            raise MisfitError(f"a sink has one kind: leave {given[0]} or this out", given[1])
        if self.otlp is not None and not is_otlp_installed():
            raise MisfitError(missing_extra("otel", "an audit sink by OTLP needs"), "otlp")
        if self.otlp is not None:
            self.otlp.require_signal(LOGS_PATH, TRACES_PATH)
        if self.spool is not None and self.path is not None:
            raise MisfitError("a file needs no spool: it is on disk already", "spool")
        return self


class WitnessSettings(Settings):
    """A place that gets each signed checkpoint, apart from the records."""

    file: str | None = Field(default=None, min_length=1)
    """A file to which each checkpoint is added; best on another machine's disk."""
    url: Annotated[str, AfterValidator(check_url)] | None = None
    """In place of a file: a URL that takes each checkpoint in a POST (text/plain)."""
    stdout: bool = False
    """In place of a file: standard output, as a JSON line."""
    tls: ReceiverTlsSettings = ReceiverTlsSettings()
    """TLS towards the URL."""
    insecure: bool = False
    """Accept plain http:// in url."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        given = [name for name in ("file", "url", "stdout") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError("a witness is one of file, url and stdout: true")
        if self.url is None:
            return self
        return require_private(self, self.url, self.tls, insecure=self.insecure)


class ChainSettings(Settings):
    """Tamper evidence: records are the leaves of a Merkle tree with signed checkpoints.

    The tree is that of RFC 9162, a checkpoint that of C2SP tlog-checkpoint.
    """

    key: FileText
    """A PEM file with the private key that signs checkpoints, Ed25519 or ECDSA P-256, not
    encrypted. `authz audit key` makes one. Records can't be forged by those who can't read it.
    """
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
    """The name of this server in checkpoints, one for each replica. Left out: the host's name,
    which is the pod's name in Kubernetes.
    """
    records: int = Field(default=1000, ge=1, le=1_000_000)
    """A checkpoint is signed after so many records at the latest."""
    interval: Duration = Field(default=5.0, ge=0.2, le=3600.0)
    """And so long after the first record that no checkpoint covers yet. What was written since the
    last checkpoint can be changed undetected by those who also stop the server.
    """
    witnesses: tuple[WitnessSettings, ...] = Field(default=(), max_length=8)
    """Places that get each checkpoint too."""


class AuditSettings(Settings):
    """The audit log, with one record for each decision."""

    path: str = Field(default=STANDARD_OUTPUT, min_length=1)
    """A file, or - for standard output. The server creates the file for its owner only (0600), and
    reopens it on SIGHUP, for log rotation. A named pipe needs a reader when the server starts.
    """
    queue: int = Field(default=10_000, ge=1, le=10_000_000)
    """Records that may wait to be written."""
    when_full: WhenFull = WhenFull.DROP
    """What to do while the queue is full or the log can't be written. drop: allow, and count the
    records for which the queue has no room. deny: refuse requests that can't be recorded.
    """
    sinks: tuple[SinkSettings, ...] = Field(default=(), max_length=16)
    """In place of path and when_full: several places to which each record goes. A slow one delays
    neither the others nor a check.
    """
    chain: ChainSettings | None = None
    """Tamper evidence for the records."""
    redact: RedactionSettings = RedactionSettings()
    """What records leave out."""

    @property
    def places(self) -> tuple[SinkSettings, ...]:
        """Return the sinks; without ``sinks``, the one that ``path`` names."""
        one = SinkSettings(path=self.path, queue=self.queue, when_full=self.when_full)
        return self.sinks or (one,)

    @model_validator(mode="after")
    def _apart(self) -> Self:
        for key in ("path", "when_full"):
            if self.sinks and key in self.model_fields_set:
                raise MisfitError(f"with sinks, {key} is a key of each sink: move it there", key)
        outputs = [sink.kind == "stdout" for sink in self.sinks]
        if outputs.count(True) > 1:
            second = len(outputs) - 1 - outputs[::-1].index(True)
            message = "another sink writes to standard output already: leave this one out"
            raise MisfitError(message, "sinks", second, "path")
        labels = [sink.label for sink in self.sinks]
        for at, label in enumerate(labels):
            if label in labels[:at]:
                raise MisfitError(
                    f"another sink is called {label}: give one of them a name", "sinks", at
                )
        return self


def written_files(audit: AuditSettings) -> Iterator[tuple[tuple[str | int, ...], Path]]:
    """Yield the place within the section of each file that the log writes, and the file."""
    for at, sink in enumerate(audit.places):
        if sink.kind == "file":
            yield ("sinks", at, "path") if audit.sinks else ("path",), Path(str(sink.path))
    for at, witness in enumerate(audit.chain.witnesses if audit.chain else ()):
        if witness.file is not None:
            yield ("chain", "witnesses", at, "file"), Path(witness.file)


def spool_folders(audit: AuditSettings) -> Iterator[tuple[tuple[str | int, ...], Path]]:
    """Yield the place within the section of each spool's folder, and the folder."""
    for at, sink in enumerate(audit.sinks):
        if sink.spool is not None:
            yield ("sinks", at, "spool", "folder"), Path(sink.spool.folder)
