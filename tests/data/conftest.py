from pathlib import Path

import numpy as np
import pytest

from elysium.config import load_settings
from elysium.data.video import write_video
from elysium.pipeline.steps import StepContext, step


@pytest.fixture
def make_context(tmp_path):
    """Builds the context of a step that writes to `tmp_path/<step>`."""

    def build(name, *overrides, inputs=None):
        output = tmp_path / name
        output.mkdir(exist_ok=True)
        row = step(name)
        return StepContext(
            step=name,
            settings=load_settings("nano", overrides),
            inputs={key: Path(value) for key, value in (inputs or dict.fromkeys(row.inputs, tmp_path)).items()},
            output=output,
            home=tmp_path / "home",
            run_id="test-run",
        )

    return build


@pytest.fixture
def make_video():
    """Writes a small video; another shade makes another file."""

    def write(path, shade=0):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, np.full((3, 32, 32, 3), shade, dtype=np.uint8), 12.0)
        return path

    return write
