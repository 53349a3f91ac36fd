"""The Pod Security Standards' restricted profile, which includes the baseline, as code of its own.

Written from https://kubernetes.io/docs/concepts/security/pod-security-standards/, rule by rule in its order.
"""

BASELINE_CAPABILITIES = {
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP"),
    *("SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
}
SAFE_SYSCTLS = {
    *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start"),
    *("net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports"),
    *("net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl"),
    *("net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"),
}
SELINUX_TYPES = {None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
VOLUME_TYPES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected"),
    "secret",
}


def containers(pod):
    """Yields all containers of a pod's spec, of whatever kind."""
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod.get(kind, [])


def violations(pod):
    """Returns what the restricted profile forbids in a pod's spec, each as one line; none means admitted."""
    found = [f"{name} is shared" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    security = pod.get("securityContext", {})
    found += _settings(security, "pod")
    found += [f"sysctl {s['name']}" for s in security.get("sysctls", []) if s["name"] not in SAFE_SYSCTLS]
    for volume in pod.get("volumes", []):
        found += [f"volume {volume['name']} is a {kind}" for kind in volume.keys() - {"name"} - VOLUME_TYPES]
    for container in containers(pod):
        found += _container(container, security)
    return found


def _container(container, pod):
    name, own = container["name"], container.get("securityContext", {})
    found = _settings(own, name)
    if own.get("privileged"):
        found.append(f"{name} is privileged")
    if own.get("allowPrivilegeEscalation") is not False:
        found.append(f"{name} may gain privileges")
    if own.get("procMount", "Default") != "Default":
        found.append(f"{name} sees all of /proc")
    added = set(own.get("capabilities", {}).get("add", []))
    found += [f"{name} adds {capability}" for capability in added - {"NET_BIND_SERVICE"}]
    found += [
        f"{name} adds {capability}, which not even the baseline has" for capability in added - BASELINE_CAPABILITIES
    ]
    if "ALL" not in own.get("capabilities", {}).get("drop", []):
        found.append(f"{name} keeps capabilities")
    if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        found.append(f"{name} may run as root")
    if own.get("runAsUser", pod.get("runAsUser")) == 0:
        found.append(f"{name} runs as root")
    seccomp = own.get("seccompProfile", pod.get("seccompProfile", {})).get("type")
    if seccomp not in ("RuntimeDefault", "Localhost"):
        found.append(f"{name} has the seccomp profile {seccomp}")
    found += [f"{name} takes a port of the host" for port in container.get("ports", []) if port.get("hostPort")]
    handlers = [container.get(probe, {}) for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    handlers += container.get("lifecycle", {}).values()
    for handler in handlers:
        for kind in ("httpGet", "tcpSocket"):
            if handler.get(kind, {}).get("host"):
                found.append(f"{name} has a probe that asks another host")
    return found


def _settings(security, name):
    found = []
    if security.get("windowsOptions", {}).get("hostProcess"):
        found.append(f"{name} is a process of the host")
    if security.get("appArmorProfile", {}).get("type") == "Unconfined":
        found.append(f"{name} is not confined by AppArmor")
    options = security.get("seLinuxOptions", {})
    if options.get("type") not in SELINUX_TYPES or options.get("user") or options.get("role"):
        found.append(f"{name} has SELinux options of its own")
    return found
