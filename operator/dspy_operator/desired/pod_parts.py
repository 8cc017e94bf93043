"""What the pods of sessions and of tasks share: metadata, security, volumes, the user's container settings."""

from __future__ import annotations

import json
from typing import Any

from dspy_operator import names
from dspy_operator.errors import StalledError
from dspy_operator.settings import Settings
from dspy_operator.store import Object

BIN = "/dspy/bin"
TOKEN_FILE = "/dspy/token/token"  # noqa: S105 - a path
WORKSPACE = "/workspace"
WORKSPACE_SOURCE = "/dspy/workspace-source"
GIT_SECRET = "/dspy/git-secret"  # noqa: S105 - a path
TERMINATION_LOG = "/dev/termination-log"
BOUND = "/dspy/bound"
RUNNER = f"{BIN}/env-runner"

DEFAULT_UID = 1000
# Linux takes no argument or variable beyond 128 KiB (MAX_ARG_STRLEN), its name included.
_ARGUMENT_MAX_BYTES = 128 * 1024 - 256

# Small and explicit: our own containers must fit a node that users' containers fill.
# No ephemeral-storage here: the kubelet holds the pod's volumes, too, against the sum of what containers set as limits.
_SMALL = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}}
# For a user's container whose template says nothing of that resource: enough for a usual test run, and no more of a
# shared node's memory than one pod may be allowed to take.
_DEFAULT_USER_LIMIT = {"memory": "2Gi"}
_DEFAULT_USER_REQUESTS = {"cpu": "100m", "memory": "256Mi"}

_SIZE_LIMITS = {
    "bin": "64Mi",
    "token": "1Mi",
    "workspace": "10Gi",
    "forks": "20Gi",
    "tmp": "4Gi",
    "bound": "16Mi",  # the session that a warm pod was given, with its secrets
    "scratch": "10Gi",  # a repository's clone, and the archive made of it
}
_IN_MEMORY = frozenset({"token", "bound"})  # what must not reach a disk


def metadata(plural: str, owner: Object, pod_name: str, attempt: int) -> Object:
    """Pod metadata: owned by `owner`, so that the garbage collector takes it along; found again by labels."""
    owned = owner["metadata"]
    labels = {
        names.LABEL_NAME: names.POD_COMPONENTS[plural],
        names.LABEL_MANAGED_BY: names.FIELD_MANAGER,
        names.POD_LABELS[plural]: names.label_value(owned["name"]),
        **owned.get("labels", {}),
    }
    reference = {
        "apiVersion": names.API_VERSION,
        "kind": names.KINDS[plural],
        "name": owned["name"],
        "uid": owned["uid"],
        "controller": True,
    }
    return {
        "name": pod_name,
        "namespace": owned["namespace"],
        "labels": labels,
        "annotations": {names.ANNOTATION_ATTEMPT: str(attempt)},
        "ownerReferences": [reference],
    }


def pod_spec(settings: Settings, template: Object, restart_policy: str) -> Object:
    """The pod-wide half of the spec: restricted Pod Security, no token of Kubernetes, placement from the template."""
    uid, gid = template.get("runAsUser", DEFAULT_UID), template.get("runAsGroup", DEFAULT_UID)
    spec: Object = {
        "restartPolicy": restart_policy,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": uid,
            "runAsGroup": gid,
            "fsGroup": gid,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    for name in ("runtimeClassName", "nodeSelector", "tolerations"):
        if template.get(name):
            spec[name] = template[name]
    if settings.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    return spec


def own_container(settings: Settings, name: str, image: str) -> Object:
    """A container of our own image, started by its entrypoint: nothing is writable but its mounts."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": settings.image_pull_policy,
        "securityContext": {**locked_down(), "readOnlyRootFilesystem": True},
        "resources": _SMALL,
    }


def user_container(settings: Settings, name: str, spec: Object, template: Object) -> Object:
    """A container of the user's image, with their variables and resources. Its root stays writable: it is theirs."""
    container: Object = {
        "name": name,
        "image": template.get("image") or settings.runner_image,
        "imagePullPolicy": settings.image_pull_policy,
        "securityContext": locked_down(),
    }
    container["resources"] = _user_resources(template)
    for field in ("env", "envFrom"):
        if spec.get(field):
            container[field] = spec[field]
    return container


def install_runner(settings: Settings) -> Object:
    """The init container that puts the static runner, and a fresh token for it, where the others find them."""
    container = own_container(settings, names.CONTAINER_INSTALL, settings.env_runner_image)
    container["args"] = ["install", "--dir", BIN, "--token-file", TOKEN_FILE]
    container["volumeMounts"] = [mount("bin", BIN), mount("token", "/dspy/token")]
    return container


def mount(volume: str, path: str, *, read_only: bool = False, sub_path: str | None = None) -> Object:
    """One volumeMount."""
    made: Object = {"name": volume, "mountPath": path}
    if read_only:
        made["readOnly"] = True
    if sub_path is not None:
        made["subPath"] = sub_path
    return made


def empty_dir(name: str) -> Object:
    """A volume that lives and dies with the pod. Beyond its limit the pod is evicted, rather than the node filled."""
    limit = {"sizeLimit": _SIZE_LIMITS[name]}
    return {"name": name, "emptyDir": {"medium": "Memory", **limit} if name in _IN_MEMORY else limit}


def source_volumes(workspace: Object) -> list[Object]:
    """Volumes that a workspace's source needs: the ConfigMap, the git Secret."""
    volumes: list[Object] = []
    if config_map := workspace.get("configMapRef"):
        volumes.append({"name": "workspace-source", "configMap": {"name": config_map["name"]}})
    if secret := workspace.get("git", {}).get("secretRef"):
        # 0440: readable through fsGroup by the agent's user alone; ssh refuses a key that others can read.
        volumes.append({"name": "git-secret", "secret": {"secretName": secret["name"], "defaultMode": 0o440}})
    return volumes


def source_mounts(workspace: Object) -> list[Object]:
    """Where source_volumes appear in a container of ours."""
    paths = {"workspace-source": WORKSPACE_SOURCE, "git-secret": GIT_SECRET}
    return [mount(v["name"], paths[v["name"]], read_only=True) for v in source_volumes(workspace)]


def source_env(workspace: Object) -> list[Object]:
    """The variables that name source_mounts to the agent."""
    found = {volume["name"] for volume in source_volumes(workspace)}
    variables = []
    if "workspace-source" in found:
        variables.append(env("DSPY_AGENT_WORKSPACE_SOURCE", WORKSPACE_SOURCE))
    if "git-secret" in found:
        variables.append(env("DSPY_AGENT_GIT_SECRET_DIR", GIT_SECRET))
    return variables


def env(name: str, value: str) -> Object:
    """A variable whose value arrives as it is: Kubernetes would otherwise expand `$(NAME)` and fold `$$` in it."""
    return {"name": name, "value": literal(value)}


def literal(text: str) -> str:
    """Text for `env[].value`, `command` or `args` that the kubelet hands on as is. Refuses what Linux cannot pass."""
    if len(text.encode()) > _ARGUMENT_MAX_BYTES:
        raise StalledError(
            "SpecTooLarge", "The spec exceeds 128 KiB: put large inputs into a blob or a ConfigMap."
        )
    return text.replace("$", "$$")


def compact_json(value: Any) -> str:
    """One form for one value, so that equal specs make equal manifests."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def egress(spec: Object) -> str:
    """The runner's --network: commands reach the network only where the spec allows it."""
    mode = spec.get("network", {}).get("egress", {}).get("mode", "None")
    return "allow" if mode == "Allow" else "none"


def _user_resources(template: Object) -> Object:
    """The template's resources; for cpu and memory, where it sets neither request nor limit, our defaults."""
    asked = template.get("resources", {})
    limits, requests = dict(asked.get("limits", {})), dict(asked.get("requests", {}))
    for name, amount in _DEFAULT_USER_REQUESTS.items():
        if name in limits or name in requests:
            continue
        requests[name] = amount
        if name in _DEFAULT_USER_LIMIT:
            limits[name] = _DEFAULT_USER_LIMIT[name]
    return {"requests": requests, "limits": limits}


def locked_down() -> Object:
    """The security context that all of our containers have."""
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
