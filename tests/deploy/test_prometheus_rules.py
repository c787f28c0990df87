"""The rules that we ship: promtool reads them, and each alert fires when it must and no sooner."""

import re
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from support.prometheus import OBSERVABILITY, ROOT, RULES, promtool, rules

TESTS: Final = sorted(OBSERVABILITY.glob("*.test.yaml"))
HEADINGS: Final = re.findall(
    r"^#+ (.*)$", (ROOT / "docs" / "howto" / "operate.md").read_text(), re.MULTILINE
)
RUNBOOK: Final = "docs/howto/operate.md#"


@cache  # PyYAML takes a second to read them
def cases() -> list[dict[str, Any]]:
    """Each question of the unit tests: an alert, a time, and the alerts that are expected."""
    files = [yaml.safe_load(path.read_text())["tests"] for path in TESTS]
    return [case for tests in files for test in tests for case in test["alert_rule_test"]]


def test_promtool_takes_the_rules() -> None:
    """It finds no fault and no rule twice."""
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules('alert')) + len(rules('record'))} rules found" in done.stdout


def test_promtool_takes_the_config() -> None:
    """It finds no fault in the config that is shipped beside the rules."""
    done = promtool("check", "config", str(OBSERVABILITY / "prometheus.yml"))

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_the_alerts_pass_their_tests(path: Path) -> None:
    """Promtool plays the series of each test to the rules, and finds the alerts that it expects."""
    done = promtool("test", "rules", str(path))

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", rules("alert"), ids=lambda rule: rule["alert"])
def test_an_alert_is_tested(alert: dict[str, Any]) -> None:
    """There is a moment at which it fires, an earlier one at which it does not, of its own length.

    Promtool compares all labels and texts of those that fire.
    """
    mine = [case for case in cases() if case["alertname"] == alert["alert"]]
    quiet = [case for case in mine if not case["exp_alerts"]]
    firing = [case for case in mine if case["exp_alerts"]]
    assert quiet
    assert firing
    for case in firing:
        for expected in case["exp_alerts"]:
            assert expected["exp_annotations"].keys() == alert["annotations"].keys()


@pytest.mark.parametrize("alert", rules("alert"), ids=lambda rule: rule["alert"])
def test_an_alert_tells_what_to_do(alert: dict[str, Any]) -> None:
    """It has a severity, a summary, a description, and a runbook whose heading exists."""
    assert alert["alert"].startswith("Authz")
    assert alert["labels"]["severity"] in {"critical", "warning"}
    told = alert["annotations"]
    assert told.keys() == {"summary", "description", "runbook_url"}
    assert not told["summary"].endswith(".")
    assert told["description"].endswith(".")
    assert told["runbook_url"] == RUNBOOK + alert["alert"].lower()
    assert alert["alert"] in HEADINGS


def test_every_alert_has_its_own_name() -> None:
    """No two alerts have the same name, and no runbook is without an alert."""
    names = [alert["alert"] for alert in rules("alert")]

    assert len(names) == len(set(names))
    assert {heading for heading in HEADINGS if heading.startswith("Authz")} == set(names)


def test_records_are_used_by_their_names() -> None:
    """A recording rule is named level:metric:operation, and rules read no other recorded name."""
    names = [rule["record"] for rule in rules("record")]
    for name in names:
        assert re.fullmatch(r"job\w*:authz_\w+:\w+", name)
    exprs = " ".join(rule["expr"] for rule in [*rules("alert"), *rules("record")])
    assert set(re.findall(r"\bjob\w*:\w+:\w+", exprs)) <= set(names)
