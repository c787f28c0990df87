"""``authz audit report``: one HTML file that obeys no record, and says what it leaves out."""

import json
import re
import stat
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from authz.config import load
from authz.review.audit_reading.found import PassedOver
from authz.review.audit_report.activity import Activity
from authz.review.audit_report.chain import ChainStatement
from authz.review.audit_report.config_use import ConfigUse
from authz.review.audit_report.markup import MAX_ROWS
from authz.review.audit_report.page import Report
from support.audit_lines import AGENT, audit_line, write_log
from support.verbs import run, write_config

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&lt;</td></table></style>"
    "<!--\u202e\x1b]0;x\x07\x9b"
)
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "header", "h1", "nav", "ul", "li", "a"),
    *("main", "section", "h2", "p", "dl", "dt", "dd"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "aria-label", "href", "id"}
ATTRIBUTES |= {"scope", "class"}
VOID = {"meta"}


class Page(HTMLParser):
    """What a browser would see of a report: elements, attributes, tables and texts."""

    def __init__(self, html: str) -> None:
        """Read a page; all elements must be closed in their order."""
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: dict[str, set[str]] = {}
        self.tables: dict[str, list[list[str]]] = {}
        self.open: list[str] = []
        self.text = ""
        self._caption = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.add(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value or "")
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._caption = ""
        if tag == "tr":
            self.tables.setdefault(self._caption, []).append([])
        if tag in ("td", "th"):
            assert tag == "td" or dict(attrs)["scope"] in ("col", "row")
            self.tables[self._caption][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        """End an element."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note a text."""
        if self.open and self.open[-1] == "caption":
            self._caption += data
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[self._caption][-1][-1] += data
        self.text += data


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The config of the lab."""
    return write_config(tmp_path)


def report(config: Path, *lines: bytes, more: tuple[str, ...] = ()) -> Page:
    """Write a report about some lines, and read it."""
    log, out = config.with_name("audit.jsonl"), config.with_name("report.html")
    write_log(log, lines)
    assert run("audit", "report", str(config), str(log), "--out", str(out), *more) == 0
    return Page(out.read_text())


def test_who_acted_for_whom(config: Path) -> None:
    """Each pair of agent and principal is listed with rules and times, most records first."""
    page = report(
        config,
        *(audit_line(at) for at in range(9)),
        audit_line(10, principal="bob", rule="finance-pay/0,finance-read/0"),
        audit_line(11, principal="bob", reason="policy_denied"),
        audit_line(12, agent="", principal="", issuer="", reason="agent_missing"),
    )
    _, *rows = page.tables["Agents and principals, the most records first"]
    issuer = "https://as.corp.example"
    assert rows[:2] == [
        [AGENT, "alice", issuer, "9", "0", "finance-read/0", *moments(0, 8)],
        [AGENT, "bob", issuer, "1", "1", "finance-pay/0, finance-read/0", *moments(10, 11)],
    ]
    assert rows[2][:5] == ["(nobody)", "(nobody)", "", "0", "1"]
    assert ["policy_denied", "not allowed", "1", moments(11, 11)[0], "d-11"] in page.tables[
        "Refusals by reason"
    ]
    assert [AGENT, "bob", "policy_denied", "1", moments(11, 11)[0], "d-11"] in page.tables[
        "Refusals by agent, principal and reason"
    ]


def moments(*seconds: int) -> tuple[str, ...]:
    """Return the times of lines as the report writes them."""
    return tuple(f"2025-11-29 07:06:{40 + at} UTC" for at in seconds)


def test_what_was_not_used(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Grants, rules, agents and principals that no record used are listed, and no others."""
    text = config.read_text()
    page = report(config, audit_line(1), more=("--json",))
    told: dict[str, Any] = json.loads(capsys.readouterr().out)

    assert "finance-read" not in told["unused_grants"]
    assert told["unused_grants"]
    assert AGENT not in told["unused_agents"]
    assert told["unused_agents"]
    assert [row[0] for row in page.tables["Grants"][1:]] == told["unused_grants"]
    for name in (*told["unused_grants"], *told["unused_agents"]):
        assert name in text
    assert "principals[0]" not in told["unused_principals"]


def test_hostile_records(config: Path) -> None:
    """No text of a record becomes markup, and none reaches a terminal or a script."""
    names = dict.fromkeys(("agent", "principal", "issuer", "rule", "policy_version"), HOSTILE)
    page = report(
        config,
        audit_line(1, **names),
        audit_line(2, **names, reason=HOSTILE),
        audit_line(3, **names).replace(b'"d-3"', json.dumps(HOSTILE).encode()),
        b'{"audit":"' + HOSTILE[:40].encode() + b'"}\n',
        HOSTILE.encode() + b"\n",
    )
    assert page.elements <= ELEMENTS
    assert page.attributes.keys() <= ATTRIBUTES
    assert all(link.startswith("#") for link in page.attributes["href"])
    assert "<script>alert(1)</script>" in page.text
    assert all(c.isprintable() or c == "\n" for c in page.text)


def test_nothing_is_loaded(config: Path) -> None:
    """The page's policy forbids scripts and every address, and allows exactly its own style."""
    report(config, audit_line(1))
    html = config.with_name("report.html").read_text()
    [policy] = re.findall('Content-Security-Policy" content="([^"]*)"', html)
    [style] = re.findall("<style>(.*)</style>", html, re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()

    assert policy.replace("&#x27;", "'") == (
        f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-{digest}'"
    )
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style


def test_the_size_is_bounded(config: Path) -> None:
    """A flood of names makes no flood of rows, and the page says how many it left out."""
    lines = (audit_line(at, principal=f"{at}" + "<" * 300, reason="scope") for at in range(9000))
    page = report(config, *lines, audit_line(1))

    assert len(page.tables["Agents and principals, the most records first"]) == MAX_ROWS + 1
    assert "more are left out here" in page.text
    assert "There were too many pairs to keep all" in page.text
    assert config.with_name("report.html").stat().st_size < 4_000_000


def test_what_it_can_not_tell(config: Path) -> None:
    """Missing and invalid lines, other policies and an unverified log are said in the page."""
    own = (b'{"audit":"dropped","count":17}\n', b'{"audit":"gap"}\n')
    page = report(config, audit_line(1), *own, b"?\n")

    for words in (
        "It was not verified that the logs are complete and unchanged",
        "records that the server dropped, as it tells: 17",
        "gaps that the server tells of",
        "lines that are not audit records: 1",
        "other policies than that of this config decided: 1.",
    ):
        assert words in page.text


@pytest.mark.parametrize(
    ("is_proven", "words"),
    [(True, "The logs' chain is proven:"), (False, "The chain is NOT proven:")],
)
def test_a_verified_chain(config: Path, words: str, *, is_proven: bool) -> None:
    """The result of verifying the logs is stated in the place of the warning, and escaped."""
    statement = ChainStatement(is_proven, ("audit.jsonl:3: <changed>",))
    use = ConfigUse(load(config))
    made = datetime(2026, 1, 1, tzinfo=UTC)
    about = Report(["a"], "b", None, None, made, Activity(), use, PassedOver(), statement)
    page = Page("".join(about.html()))

    assert words in page.text
    assert "audit.jsonl:3: <changed>" in page.text
    assert "It was not verified" not in page.text
    assert about.members()["chain_is_proven"] is is_proven


def test_the_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is its owner's alone, overwrites nothing that is read, and needs a record."""
    report(config, audit_line(1))
    out, log = config.with_name("report.html"), config.with_name("audit.jsonl")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    for path in (config, log):
        with pytest.raises(SystemExit, match="2"):
            run("audit", "report", str(config), str(log), "--out", str(path))
    assert "is one of the files that are read" in capsys.readouterr().err
    absent = config.with_name("absent.html")
    log.write_bytes(b"")
    assert run("audit", "report", str(config), str(log), "--out", str(absent)) == 1
    assert "nothing was written" in capsys.readouterr().err
    assert not absent.exists()
    log.write_bytes(audit_line(1))
    nowhere = config.with_name("no-folder") / "report.html"
    assert run("audit", "report", str(config), str(log), "--out", str(nowhere)) == 1
    assert "No such file" in capsys.readouterr().err
