"""The library's core works in the plain training images people have (torch, transformers and little else)."""

import subprocess
import sys
import textwrap

import pytest

# What a plain image holds, with what these packages themselves bring along.
ABSENT = (
    "airflow, av, boto3, botocore, cv2, dvc, great_expectations, kfp, kubernetes, matplotlib, mlflow, pandas, peft, "
    "scipy, spacy, deepspeed, ray"
)


@pytest.mark.parametrize("package", ["model", "data", "training", "inference"])
def test_the_core_imports_without_anything_but_the_plain_image(package):
    code = f"""
        import importlib, pkgutil, sys

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {ABSENT.split(", ")!r}:
                    raise ModuleNotFoundError(f"{{name}} is not in a plain training image", name=name)

        sys.meta_path.insert(0, Absent())
        package = importlib.import_module("elysium.{package}")
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            importlib.import_module(module.name)
            print(module.name)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout


def test_the_command_line_starts_without_any_heavy_library():
    heavy = {"torch", "airflow", "cv2", "mlflow", "spacy"}
    code = f"import sys; import elysium.cli; print(sorted({heavy!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
