import pytest

from holdfast.config import load
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
