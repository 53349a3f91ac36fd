"""Writes the bill of materials of the image that it runs in, as CycloneDX JSON: Python and Debian packages.

    /opt/elysium/bin/python sbom.py --name elysium-trainer --version 0.1.0 --commit abc > /usr/share/elysium/sbom.json

The standard library alone. The same packages give the same bytes: neither time nor chance is in it.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import uuid
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

_DPKG_FIELDS = r"${db:Status-Status}\t${binary:Package}\t${Version}\t${Architecture}\t${source:Package}\n"


def bill(name: str, version: str, commit: str, components: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Returns the bill: CycloneDX 1.5, https://cyclonedx.org/docs/1.5/json/.

    Args:
        name: Of the image.
        version: Of the image.
        commit: Of the code in it; empty for none.
        components: As `python_component` and `debian_component` make them.
    """
    listed = sorted(components, key=lambda component: component["purl"])
    image: dict[str, Any] = {"type": "container", "bom-ref": name, "name": name, "version": version}
    if commit:
        image["properties"] = [{"name": "org.opencontainers.image.revision", "value": commit}]
    content = json.dumps([image, listed], sort_keys=True)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {"component": image},
        "components": listed,
    }


def python_component(distribution: Distribution) -> dict[str, Any]:
    """Returns one installed Python distribution, its licence as its own metadata gives it."""
    metadata = distribution.metadata
    name = re.sub(r"[-_.]+", "-", metadata["Name"]).lower()
    purl = f"pkg:pypi/{name}@{quote(distribution.version)}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": metadata["Name"],
        "version": distribution.version,
        "purl": purl,
    }
    if expression := metadata.get("License-Expression"):
        component["licenses"] = [{"expression": expression}]
    elif names := _licence_names(distribution):
        component["licenses"] = [{"license": {"name": name}} for name in names]
    return component


def _licence_names(distribution: Distribution) -> list[str]:
    classifiers = distribution.metadata.get_all("Classifier") or []
    named = [value.rpartition("::")[2].strip() for value in classifiers if value.startswith("License ::")]
    text = (distribution.metadata.get("License") or "").strip()
    # Some put the whole text of the licence there; its first line names it.
    return sorted(set(named)) or ([text.splitlines()[0][:200]] if text else [])


def debian_component(line: str, distribution: str = "debian-12") -> dict[str, Any] | None:
    """Returns one Debian package; None if it is not installed.

    Args:
        line: Status, package, version, architecture and source package, with tabs between.
        distribution: Of the packages, as package URLs name it.
    """
    status, package, version, architecture, source = line.split("\t")
    if status != "installed":
        return None
    package = package.partition(":")[0]
    purl = f"pkg:deb/debian/{quote(package)}@{quote(version, safe='')}?arch={architecture}&distro={quote(distribution)}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": package,
        "version": version,
        "purl": purl,
        "properties": [{"name": "debian:source", "value": source}],
    }


def _interpreter() -> dict[str, Any]:
    # Official images compile it themselves: it is no Debian package there.
    version = platform.python_version()
    purl = f"pkg:generic/python@{version}"
    return {"type": "application", "bom-ref": purl, "name": "python", "version": version, "purl": purl}


def _debian_components() -> list[dict[str, Any]]:
    release = platform.freedesktop_os_release()
    query = subprocess.run(
        ["dpkg-query", "--show", f"--showformat={_DPKG_FIELDS}"], check=True, capture_output=True, text=True
    )
    name = f"{release['ID']}-{release['VERSION_ID']}"
    found = (debian_component(line, name) for line in query.stdout.splitlines())
    return [component for component in found if component is not None]


def main() -> None:
    """Reads the command line and writes the bill to standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--commit", default="")
    arguments = parser.parse_args()
    # This file's own folder is on the path too; nothing is installed there.
    path = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]
    components = [python_component(distribution) for distribution in distributions(path=path)]
    components += [_interpreter(), *_debian_components()]
    report = bill(arguments.name, arguments.version, arguments.commit, components)
    print(json.dumps(report, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
