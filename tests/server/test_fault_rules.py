"""Rules: how they are read, what is wrong with them, whom they choose, and how they are steered over HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from nono.errors import SettingsError
from nono.server.app import LocalServer
from nono.server.faults.calls import CALLS
from nono.server.faults.catalogue import FAULTS
from nono.server.faults.rules import Counted, read_rules

REFUSE = {"fault": "refuse", "call": "create", "nth": 1, "status": 429}


@pytest.mark.parametrize(
    "given", [[REFUSE], REFUSE, json.dumps([REFUSE]), json.dumps(REFUSE)], ids=["list", "one", "JSON list", "JSON one"]
)
def test_rules_are_read_from_values_and_from_json(given: Any) -> None:
    (rule,) = read_rules(given)
    assert (rule.fault.name, rule["status"], rule["retry_after"]) == ("refuse", 429, None)
    assert (rule.calls, rule.nth) == ({"create"}, {1})


def test_rules_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    path.write_text(json.dumps([REFUSE, {"fault": "reset"}]))
    assert [rule.fault.name for rule in read_rules(str(path))] == ["refuse", "reset"]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"fault": "explode"}, r"there is no fault 'explode'\nhint: there are drop-answer, reset, hang, "),
        ({"call": "create"}, "there is no fault None"),
        (
            {"fault": "reset", "status": 500},
            r"\(reset\) does not know 'status'\nhint: it takes no parameters of its own",
        ),
        (
            {"fault": "hang", "second": 5},
            r"does not know 'second'\nhint: it takes seconds, effect; every rule takes prov",
        ),
        ({"fault": "reset", "call": "creates"}, r"there is no call 'creates'\nhint: there are upload, file, "),
        ({"fault": "reset", "provider": "azure"}, r"no provider 'azure'\nhint: there are openai, gemini, vertex"),
        ({"fault": "list-lag", "call": "get"}, r"cannot befall 'get'\nhint: it befalls list"),
        ({"fault": "stuck", "call": "create"}, r"does not befall calls\nhint: leave 'call' out"),
        ({"fault": "reset", "nth": 0}, r"'nth' is 0\nhint: a whole number from 1 on"),
        ({"fault": "reset", "share": 5}, r"'share' is 5\nhint: a number from 0 to 1: 0.05 is 5 %"),
        ({"fault": "refuse", "status": 200}, r"'status' is 200\nhint: expected a whole number from 400 to 599"),
        ({"fault": "hang", "seconds": "5"}, r"'seconds' is '5'\nhint: expected seconds of the server's clock"),
        ({"fault": "corrupt-lines", "how": "badly"}, r"'how' is 'badly'\nhint: expected one of cut, bytes, nul"),
        ("reset", r"fault rule 2 is str, not an object\nhint: for example \[\{"),
    ],
)
def test_a_rule_that_makes_no_sense_is_named_with_what_there_is(rule: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read_rules([REFUSE, rule])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("[{", r"are not JSON.*\nhint: for example"),
        ("nowhere.json", r"nowhere\.json cannot be read: No such file or directory\nhint: name a JSON file"),
        (7, "are a list of objects, not int"),
    ],
)
def test_what_is_no_list_of_rules_is_told_with_an_example(given: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read_rules(given)


@pytest.mark.parametrize(
    ("selection", "chosen"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"nth": 2}, [2]),
        ({"nth": [1, 4]}, [1, 4]),
        ({"every": 3}, [3, 6]),
        ({"times": 2}, [1, 2]),
        ({"every": 2, "times": 2}, [2, 4]),
        ({"share": 0.0}, []),
        ({"share": 0.5, "seed": 1}, [5, 6]),
        ({"share": 0.5, "seed": 2}, [1, 3, 4]),
    ],
)
def test_a_rule_chooses_its_occasions(selection: dict[str, Any], chosen: list[int]) -> None:
    (rule,) = read_rules({"fault": "reset", **selection})
    counted = Counted([rule])
    assert [number for number in range(1, 7) if counted.fires(rule, counted.next(rule), str(number))] == chosen


def test_a_share_is_about_that_share() -> None:
    (rule,) = read_rules({"fault": "corrupt-lines", "share": 0.05})
    assert sum(rule.chooses(1, str(number)) for number in range(10_000)) == pytest.approx(500, rel=0.15)


def test_every_fault_has_one_way_of_happening() -> None:
    for fault in FAULTS.values():
        ways = [fault.act, fault.view, fault.fate, fault.row, fault.line, fault.order]
        # The room of an account is refused at the create by one provider, and by a failed batch by the other.
        assert sum(way is not None for way in ways) == (2 if fault.name == "token-limit" else 1), fault.name


def test_the_documentation_names_every_call() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "server.md").read_text("utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith("| `call` |")]
    assert re.findall(r"`([\w-]+)`", line)[1:] == [*CALLS, "any"]


# --- over HTTP ---


@pytest.fixture
def steered(tmp_path: Path) -> Any:
    with LocalServer(data=tmp_path / "data", faults=[]) as server, httpx2.Client(base_url=server.url) as client:
        yield client


def test_without_faults_there_is_nothing_of_it(server: LocalServer) -> None:
    for path in ("faults", "clock", "log"):
        assert httpx2.get(f"{server.url}/_nono/{path}").json()["error"]["message"].startswith("Invalid URL")


def test_rules_are_added_listed_and_forgotten(steered: httpx2.Client) -> None:
    assert steered.get("/_nono/faults").json() == {"rules": []}
    steered.post("/_nono/faults", json=REFUSE)
    rules = steered.post("/_nono/faults", json=[{"fault": "reset", "call": "upload"}]).json()["rules"]
    assert [(rule["fault"], rule["fired"]) for rule in rules] == [("refuse", 0), ("reset", 0)]
    assert steered.post("/v1/batches", json={}).status_code == 429
    assert steered.get("/_nono/faults").json()["rules"][0]["fired"] == 1
    assert steered.delete("/_nono/faults").json() == {"rules": []}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"fault": "explode"}', "there is no fault 'explode'"),
        (b"{", "The body is not JSON"),
        (b"7", "are a list of objects"),
    ],
)
def test_a_wrong_rule_is_refused_and_changes_nothing(steered: httpx2.Client, body: bytes, said: str) -> None:
    refused = steered.post("/_nono/faults", content=body)
    assert refused.status_code == 400
    assert said in refused.json()["error"]["message"]
    assert steered.get("/_nono/faults").json() == {"rules": []}


def test_an_unknown_path_says_what_there_is(steered: httpx2.Client) -> None:
    refused = steered.get("/_nono/fault")
    assert refused.status_code == 404
    assert "there are /_nono/faults, /_nono/clock and /_nono/log" in refused.json()["error"]["message"]


def test_the_key_of_the_server_is_asked_for_here_too(tmp_path: Path) -> None:
    with LocalServer(data=tmp_path / "data", faults=[], api_key="k") as server:
        assert httpx2.get(f"{server.url}/_nono/faults").status_code == 401
        assert httpx2.get(f"{server.url}/_nono/faults", headers={"authorization": "Bearer k"}).status_code == 200


def test_a_page_of_another_origin_cannot_make_the_server_misbehave(steered: httpx2.Client) -> None:
    assert steered.post("/_nono/faults", json=REFUSE, headers={"origin": "https://evil.test"}).status_code == 403


def test_a_server_with_rules_that_make_no_sense_does_not_start(serving: Callable[..., Any]) -> None:
    with pytest.raises(SettingsError, match="there is no fault 'explode'"):
        serving(faults=[{"fault": "explode"}])
