"""The definition of the W&B dashboard."""

import json
import sys

import pytest

from ddselect.tracking import dashboard


def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    monkeypatch.setattr(sys, "argv", ["dashboard", *arguments])
    dashboard.main()
    return json.loads(capsys.readouterr().out)


def test_it_is_built_without_a_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    view = shown(monkeypatch, capsys, "me/digits", "rded-seed1", "--show")
    assert (view["entity"], view["project"], view["displayName"]) == ("me", "digits", dashboard.NAME)
    sections = {part["name"]: part for part in view["spec"]["section"]["panelBankConfig"]["sections"]}
    assert [*sections][:5] == ["Results", "Students", "Distilled sets", "Scores", "Costs"]
    assert "composition/rded-seed1/gallery" in json.dumps(sections["Distilled sets"])
    curve = sections["Students"]["panels"][0]["config"]
    assert (curve["xAxis"], curve["metricRegex"]) == ("student/step", "student/.+/top1")


def test_mistakes_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(dashboard, "has_key", lambda: False)
    for name, message in (("me", "me: a W&B user or team and its project"), ("me/digits", "no W&B key found")):
        with pytest.raises(SystemExit) as end:
            shown(monkeypatch, capsys, name)
        assert end.value.code == 2
        assert capsys.readouterr().err.startswith(f"ddselect: {message}")
