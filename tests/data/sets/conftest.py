import json
from dataclasses import dataclass

import pytest
from PIL import Image

from elysium.data.sets.importing import ImportReport, import_set
from elysium.data.sets.schema import SetRecord
from elysium.data.sets.store import SetReader


@dataclass(frozen=True)
class Imported:
    """What an import gave: the records by id, and the report."""

    records: dict[str, SetRecord]
    report: ImportReport

    @property
    def reasons(self):
        return {reason: found.first for reason, found in self.report.skipped.items()}


@pytest.fixture
def pictures(tmp_path):
    """Writes black pictures below `images/`, 200 x 100 pixels unless another size is said."""

    def make(*names, size=(200, 100)):
        for name in names:
            path = tmp_path / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size).save(path)

    (tmp_path / "images").mkdir()
    return make


@pytest.fixture
def write(tmp_path):
    """Writes a JSON value, JSON lines (a list of texts) or text to a file, and returns its path."""

    def make(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return make


@pytest.fixture
def bring_in(tmp_path):
    """Imports a set with any share of broken samples, unless told otherwise."""

    def run(name, *annotations, **options):
        output = tmp_path / "imported"
        options = {"max_skipped": 1.0, **options}
        report = import_set(name, annotations, tmp_path / "images", output, **options)
        return Imported({record.id: record for record in SetReader(output)}, report)

    return run
