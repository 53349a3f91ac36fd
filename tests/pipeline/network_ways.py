"""Who reaches whom under a namespace's NetworkPolicies."""


def passes(policies, pod, direction, port, peer, namespace=None):
    """Whether a pod may send to (Egress) or be sent to from (Ingress) a peer.

    Args:
        policies: All of the namespace.
        pod: Its labels.
        direction: `Ingress` or `Egress`.
        port: TCP, of the receiver.
        peer: Labels of a pod of the namespace; None is somebody outside of it.
        namespace: Labels of the outside peer's namespace; None is outside of the cluster.
    """
    side = direction.lower()
    rules = [
        rule
        for policy in policies
        if direction in policy["spec"]["policyTypes"] and matches(policy["spec"]["podSelector"], pod)
        for rule in policy["spec"].get(side, [])
    ]
    ends = "to" if direction == "Egress" else "from"
    return any(
        any(
            entry["port"] == port and entry["protocol"] == "TCP"
            for entry in rule.get("ports", [{"port": port, "protocol": "TCP"}])
        )
        and (ends not in rule or any(is_peer(entry, peer, namespace) for entry in rule[ends]))
        for rule in rules
    )


def is_peer(entry, peer, namespace):
    """Whether an entry of `to` or `from` means a peer; addresses are those of somebody outside of the cluster."""
    if "ipBlock" in entry:
        return peer is None and namespace is None
    if "namespaceSelector" in entry:
        inside = peer is None and namespace is not None and matches(entry["namespaceSelector"], namespace)
        return inside and "podSelector" not in entry
    return peer is not None and matches(entry["podSelector"], peer)


def matches(selector, labels):
    """Whether labels are those that a selector means."""
    expressions = selector.get("matchExpressions", [])
    assert all(expression["operator"] == "In" for expression in expressions)
    return labels.items() >= selector.get("matchLabels", {}).items() and all(
        labels.get(expression["key"]) in expression["values"] for expression in expressions
    )
