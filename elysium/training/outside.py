"""What a training phase reads beside its run's own artifacts: checkpoints that it starts from, and imported data sets.

Imports nothing heavy: it decides whether a step has to run at all.
"""

from __future__ import annotations

from pathlib import Path

from elysium.checkpoints import checkpoint_folder
from elysium.config import PHASES, PhaseSettings, Settings
from elysium.config.training import OWN_TRACKS
from elysium.data.sets.store import DATA
from elysium.errors import UsageError
from elysium.pipeline.workspace import digest_of, scan, sha256


def digests(settings: Settings, phase: str, *, starts: bool = False) -> dict[str, str]:
    """Returns the digest of each folder or file that a phase reads from outside of the workspace, by what it is for.

    What is not on this machine is left out: weights of a hub have their name alone, and what is missing is told when
    the phase begins.

    Args:
        settings: Of the run.
        phase: Its name; the first one of a run also reads what the model starts from.
        starts: Whether another phase does, too: one that is trained by itself.
    """
    found = {}
    if starts or phase == PHASES[0]:
        model = settings.model
        places = {
            "model.init_from": model.init_from and checkpoint_folder(model.init_from),
            "model.vision.weights": model.vision.weights,
            "model.llm.weights": model.llm.weights,
            "model.llm.tokenizer": model.llm.tokenizer,
        }
        for name, place in places.items():
            if place and Path(place).is_dir():
                found[name] = digest_of({file: entry.sha256 for file, entry in scan(Path(place)).items()})
    for name in _imports(settings, phase):
        path = _file(settings, name)
        if path.is_file():
            found[f"sets.{name}"] = sha256(path)
    return found


def check(settings: Settings, phase: str) -> None:
    """Looks for the imports of the data sets that a phase is trained on.

    Raises:
        UsageError: If any is missing; the message names all of them, and how to make them or do without.
    """
    missing = [name for name in _imports(settings, phase) if not _file(settings, name).is_file()]
    if missing:
        folder = settings.training.sets_folder
        raise UsageError(
            f"training.{phase}.sets names data sets that are not in {folder}: {', '.join(missing)}. Import each with "
            f"`elysium data import NAME … --output {folder}/NAME`, name another folder with training.sets_folder, or "
            f"train on the run's own tracks alone (training.{phase}.sets={{{OWN_TRACKS}: 1}}, and the weight of vqa in "
            f"training.{phase}.mixture 0)"
        )


def _imports(settings: Settings, phase: str) -> list[str]:
    chosen: PhaseSettings = getattr(settings.training, phase)
    names = {name for part in chosen.parts() for name, weight in part.sets.items() if weight > 0}
    return sorted(names - {OWN_TRACKS})


def _file(settings: Settings, name: str) -> Path:
    return Path(settings.training.sets_folder) / name / DATA
