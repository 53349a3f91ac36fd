"""Makes the secrets of the servers, with values drawn here. What is there stays as it is.

python make_secrets.py | kubectl -n elysium create -f -     # anywhere; needs nothing but Python
python make_secrets.py --create elysium                     # in a pod that may create secrets
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import secrets
from typing import Any


def draw() -> dict[str, dict[str, str]]:
    """Returns fresh values: secret to key to value."""
    return {
        "elysium-postgres": {name: secrets.token_urlsafe(24) for name in ("mlflow-password", "airflow-password")},
        "elysium-airflow": {
            "fernet-key": base64.urlsafe_b64encode(os.urandom(32)).decode(),
            **{name: secrets.token_urlsafe(48) for name in ("jwt-secret", "api-secret-key")},
            "admin-password": secrets.token_urlsafe(12),
        },
    }


def manifests() -> list[dict[str, Any]]:
    """Returns them as the API takes them."""
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}
        for name, values in draw().items()
    ]


def create(api: Any, namespace: str) -> None:
    """Creates each secret that does not exist yet.

    Args:
        api: A `kubernetes.client.CoreV1Api`, which needs the right to create secrets and no other.
        namespace: Where they are made.
    """
    from kubernetes.client import ApiException

    for manifest in manifests():
        name = manifest["metadata"]["name"]
        try:
            api.create_namespaced_secret(namespace, manifest)
            print(f"secret {name} is made")
        except ApiException as error:
            if error.status != 409:
                raise
            print(f"secret {name} is there and stays as it is")


def main() -> None:
    """Prints secrets, or creates them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--create", metavar="NAMESPACE", help="through the API, as the pod's service account")
    namespace = parser.parse_args().create
    if namespace is None:
        print(json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests()}, indent=2))
        return
    from kubernetes import client, config

    config.load_incluster_config()
    create(client.CoreV1Api(), namespace)


if __name__ == "__main__":
    main()
