import pytest

from holdfast import config
from holdfast.config import load, processors
from holdfast.errors import UsageError


def test_arguments_beat_environment_beats_file_beats_default(tmp_path):
    (tmp_path / "holdfast.toml").write_text("[serve]\nport = 1\ncontrol_port = 2\nworkers = 3\n")
    settings = load(tmp_path, {"serve.port": 9, "serve.workers": None}, {"HOLDFAST_SERVE_CONTROL_PORT": "8"})
    assert (settings.serve.port, settings.serve.control_port, settings.serve.workers) == (9, 8, 3)
    assert settings.serve.host == "127.0.0.1"


@pytest.mark.parametrize("text", ["[serve]\nprot = 1\n", "[sevre]\n", "[serve]\nport = 'x'\n", "[serve\n"])
def test_a_spelling_mistake_is_no_silent_default(tmp_path, text):
    (tmp_path / "holdfast.toml").write_text(text)
    with pytest.raises(UsageError) as told:
        load(tmp_path, environ={})
    assert told.value.next_step
    assert "holdfast.toml" in told.value.where


def test_a_deployment_has_its_own_settings(tmp_path):
    (tmp_path / "holdfast.toml").write_text('[deployments.prices]\ntrain = "t.py:train"\n')
    settings = load(tmp_path, environ={})
    assert settings.deployment("prices").train == "t.py:train"
    assert settings.deployment("other").canary_share == 0.1


def test_a_containers_quota_counts_as_its_processors(tmp_path, monkeypatch):
    here = tmp_path / "cpu.max"
    monkeypatch.setattr(config, "CPU_MAX", here)
    every = processors()
    assert every >= 1
    for text, expected in (
        ("max 100000\n", every),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        ("9900000 100000\n", every),
    ):
        here.write_text(text)
        assert processors() == expected
