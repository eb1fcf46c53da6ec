"""Known noise is dropped; a message that is not known still reaches the user."""

import logging
import os
import subprocess
import sys

from nemo_desta.quiet import quiet_known_noise


def test_only_the_known_message_of_a_logger_is_dropped(caplog, monkeypatch):
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    quiet_known_noise()
    quiet_known_noise()
    logger = logging.getLogger("torchao")
    monkeypatch.setattr(logger, "disabled", False)  # whatever was imported before
    monkeypatch.setattr(logger, "propagate", True)
    caplog.set_level(logging.WARNING, logger="torchao")
    logger.warning("Skipping import of cpp extensions due to something")
    logger.warning("Something else is wrong")
    assert [record.getMessage() for record in caplog.records] == ["Something else is wrong"]
    assert len(logger.filters) == 1


def test_the_users_environment_wins(monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    quiet_known_noise()
    assert os.environ["TOKENIZERS_PARALLELISM"] == "true"


def test_importing_what_training_needs_prints_nothing():
    code = (
        "from nemo_desta.quiet import quiet_known_noise\nquiet_known_noise()\n"
        "import nemo_desta.training.train, nemo_desta.serving.loading, nemo_desta.models.desta"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TORCHAO_FORCE_SKIP_LOADING_SO_FILES"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout + done.stderr == ""
