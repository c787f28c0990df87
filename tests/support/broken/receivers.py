"""Mistakes in the places to which records and spans are sent."""

from typing import Final

from support.broken.base import Broken


def _sink(text: str, cause: str, cure: str) -> Broken:
    return Broken("admin:", f"audit:\n  sinks:\n@@  - {text}\nadmin:", cause, cure)


def _traces(text: str, cause: str, cure: str) -> Broken:
    return Broken("admin:", f"@@traces: {text}\nadmin:", cause, cure)


_SIEM: Final = "https://siem.corp.example"
_PLAIN: Final = "url: 'http://siem.corp.example/x', insecure: true"
RECEIVERS: Final = (
    _sink("syslog: {address: 'tls://a:6514'}", "'tls://a:6514' is invalid", "siem.corp.example:65"),
    _sink("syslog: {address: '*:6514'}", "'*:6514' is invalid", "it must be host:port"),
    _sink("syslog: {address: 'a:0'}", "there is no port 0", "name the port"),
    _sink("{name: Siem, path: a}", "'Siem' is invalid", "lower-case letters"),
    _sink(
        "syslog: {address: 'a:6514', insecure: true, tls: {ca_file: a}}",
        "insecure connections have no TLS",
        "leave tls or insecure out",
    ),
    _sink(
        f"http: {{{_PLAIN}, tls: {{client: {{certificate: a, private_key: b}}}}}}",
        "http.tls: insecure connections have no TLS",
        "leave tls or insecure out",
    ),
    _sink(
        f"http: {{url: '{_SIEM}/', token_file: a, headers: {{Authorization: Basic}}}}",
        "token_file sets authorization already",
        "leave one of them out",
    ),
    Broken(
        "admin:",
        "audit:\n  sinks:\n  - path: '-'\n@@  - {name: two, path: '-'}\nadmin:",
        "sinks[1].path: another sink writes to standard output",
        "leave this one out",
    ),
    _sink(
        "http: {url: 'https://169.254.169.254/'}", "sinks[0].http.url: a link", "name the server"
    ),
    _sink("syslog: {address: '[fe80::1]:6514'}", "syslog.address: a link-local", "name the server"),
    _sink("otlp: {endpoint: 'https://[fd00:ec2::254]'}", "endpoint: a link", "name the server"),
    _sink(
        f"otlp: {{endpoint: '{_SIEM}', headers: {{x!y: z}}}}", "'x!y' is not a name", "letters, dig"
    ),
    _sink(
        f"otlp: {{endpoint: '{_SIEM}/', protocol: http, headers: {{Content-Type: a}}}}",
        "content-type is written by the server itself",
        "leave it out",
    ),
    _sink(
        f"otlp: {{endpoint: '{_SIEM}?a'}}", "with protocol grpc the URL has no", "protocol: http"
    ),
    _sink(f"otlp: {{endpoint: '{_SIEM}', protocol: http}}", "this is the whole URL", "/v1/logs"),
    _sink(
        f"otlp: {{endpoint: '{_SIEM}/v1/traces', protocol: http}}", "another signal", "use /v1/logs"
    ),
    _sink(
        f"{{http: {{url: '{_SIEM}/'}}, spool: {{folder: /dev/null/spool}}}}",
        "spool.folder: /dev/null is not a folder",
        "only this spool uses",
    ),
    _sink(f"{{path: '/{'a' * 300}'}}", "is too long for a path", "shorten it"),
    _traces(
        f"{{otlp: {{endpoint: '{_SIEM}/v1/logs', protocol: http}}}}", "another sig", "/v1/traces"
    ),
    _traces(f"{{otlp: {{endpoint: '{_SIEM}', protocol: http}}}}", "the whole URL", "/v1/traces"),
    _traces("{otlp: {endpoint: 'https://169.254.169.254'}}", "endpoint: a link", "name the server"),
    _traces(f"{{otlp: {{endpoint: '{_SIEM}'}}, sampled: 5}}", "must be a share", "from 0 to 1"),
    _traces(f"{{otlp: {{endpoint: '{_SIEM}'}}, sampled: 1%}}", "not text", "a number such as 0.5"),
    _traces(f"{{otlp: {{endpoint: '{_SIEM}'}}, sampled: .inf}}", "sampled: must be", "0"),
)
