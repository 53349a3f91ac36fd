"""A kustomization around an overlay, for the tests' own namespaces."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from cluster_access import Cluster

# What an API older than 1.21 does not know.
_WITHOUT_BUDGETS = {
    "target": {"kind": "PodDisruptionBudget"},
    "patch": "$patch: delete\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: any}\n",
}


def write_deployment(
    folder: Path,
    cluster: Cluster,
    overlay: Path,
    maps: Mapping[str, Mapping[str, str]],
    stores: Mapping[str, str] | None = None,
    profile: Mapping[str, Any] | None = None,
) -> None:
    """Writes a kustomization around an overlay, as somebody does who deploys it: own namespace, images, secrets.

    Args:
        folder: For it.
        cluster: Where to.
        overlay: Below k8s/overlays.
        maps: What is added to the overlay's ConfigMaps, by name.
        stores: Content of the secret `elysium-stores`; None makes none.
        profile: Content of the job profile; None leaves it.
    """
    images = [
        {"name": f"elysium-{role}", "newName": f"{cluster.registry}elysium-{role}", "newTag": cluster.tag}
        for role in ("orchestrator", "trainer", "curator")
    ]
    postgres, _, tag = os.environ.get("ELYSIUM_CLUSTER_POSTGRES", "").rpartition(":")
    if postgres:
        images.append({"name": "docker.io/library/postgres", "newName": postgres, "newTag": tag})
    generated: list[dict[str, Any]] = [
        {"name": name, "namespace": "elysium", "behavior": "merge", "literals": _literals(values)}
        for name, values in maps.items()
    ]
    if profile is not None:
        (folder / "profile.yaml").write_text(yaml.safe_dump(dict(profile)))
        changed = {"behavior": "replace", "files": ["profile.yaml"]}
        generated.append({"name": "elysium-jobs", "namespace": "elysium", **changed})
    kustomization: dict[str, Any] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": cluster.namespace,
        "resources": [os.path.relpath(overlay, folder)],
        "images": images,
        "generatorOptions": {"disableNameSuffixHash": True},
        "configMapGenerator": generated,
    }
    if stores is not None:
        kustomization["secretGenerator"] = [{"name": "elysium-stores", "literals": _literals(stores)}]
    if cluster.server < (1, 21):
        kustomization["patches"] = [_WITHOUT_BUDGETS]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))


def _literals(values: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]
