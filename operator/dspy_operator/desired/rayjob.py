"""The RayJob of one attempt, by KubeRay's rules.

The head runs the command and is the first of the job's nodes. KubeRay neither retries nor suspends: each attempt is a
RayJob of its own under the same name, so that the next one can be told where to resume, and Kueue may own spec.suspend.
"""

from __future__ import annotations

import shlex

from dspy_operator import names
from dspy_operator.desired import pod_parts as parts
from dspy_operator.desired import training
from dspy_operator.settings import Settings
from dspy_operator.store import Object

API_VERSION = "ray.io/v1"
DEFAULT_RAY_VERSION = "2.60.0"
# KubeRay deletes the cluster so long after the job's end: until then the last lines of its log can be read.
LINGER_S = 60
# A backend's own deadline is a backup for when this operator is away.
DEADLINE_SLACK_S = 120
_DEFAULT_RESOURCES = {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"memory": "2Gi"}}
_SUBMITTER_RESOURCES = {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}}


def rayjob(
    job: Object, settings: Settings, attempt: int, checkpoint: Object | None, left_s: int | None
) -> Object:
    """The manifest of attempt number `attempt`, from 1. `left_s` is what is left of spec.activeDeadlineSeconds."""
    ray = job["spec"].get("ray", {})
    mode = ray.get("submissionMode", "HTTPMode")
    spec: Object = {
        "submissionMode": mode,
        "entrypoint": shlex.join(training.command(job)),
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": LINGER_S,
        "backoffLimit": 0,
        "rayClusterSpec": _cluster(job, settings, attempt, checkpoint),
    }
    if left_s is not None:
        spec["activeDeadlineSeconds"] = left_s + DEADLINE_SLACK_S
    if mode == "K8sJobMode":
        spec["submitterPodTemplate"] = {"spec": _submitter(job, settings)}
    return {"apiVersion": API_VERSION, "kind": "RayJob", "metadata": _metadata(job, attempt), "spec": spec}


def _metadata(job: Object, attempt: int) -> Object:
    owned = job["metadata"]
    return {
        "name": owned["name"],
        "namespace": owned["namespace"],
        "labels": {**_labels(job), **owned.get("labels", {})},
        "annotations": {names.ANNOTATION_ATTEMPT: str(attempt)},
        "ownerReferences": [
            {
                "apiVersion": names.API_VERSION,
                "kind": names.KINDS[names.TRAINING_JOBS],
                "name": owned["name"],
                "uid": owned["uid"],
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }


def _labels(job: Object) -> dict[str, str]:
    return {
        names.LABEL_NAME: "dspy-agent-training",
        names.LABEL_MANAGED_BY: names.FIELD_MANAGER,
        names.LABEL_TRAINING: names.label_value(job["metadata"]["name"]),
    }


def _cluster(job: Object, settings: Settings, attempt: int, checkpoint: Object | None) -> Object:
    spec = job["spec"]
    ray, trainer = spec.get("ray", {}), spec.get("trainer", {})
    ours = training.contract(job, attempt, checkpoint)
    env = [*training.user_env(job), *(parts.env(name, value) for name, value in ours.items())]
    resources = trainer.get("resourcesPerNode") or _DEFAULT_RESOURCES
    others = trainer.get("numNodes", 1) - 1
    groups = ray.get("workerGroups") or ([{"name": "workers", "replicas": others}] if others else [])
    cluster: Object = {
        "rayVersion": ray.get("rayVersion", DEFAULT_RAY_VERSION),
        "headGroupSpec": {
            "rayStartParams": {"dashboard-host": "0.0.0.0"},  # noqa: S104 - KubeRay asks there, from another pod
            "template": _template(job, settings, env, resources, {}),
        },
    }
    if groups:
        cluster["workerGroupSpecs"] = [
            _workers(group, _template(job, settings, env, group.get("resources") or resources, group))
            for group in groups
        ]
    return cluster


def _workers(group: Object, template: Object) -> Object:
    replicas = group.get("replicas", 1)
    return {
        "groupName": group["name"],
        "replicas": replicas,
        "minReplicas": group.get("minReplicas", replicas),
        "maxReplicas": group.get("maxReplicas", replicas),
        "rayStartParams": {},
        "template": template,
    }


def _template(
    job: Object, settings: Settings, env: list[Object], resources: Object, placement: Object
) -> Object:
    """A pod of the cluster. Labelled as the job's, but not as managed: KubeRay owns it, and we do not watch it."""
    container = _container(job, settings, "ray", resources)
    container["env"] = env
    spec = parts.pod_spec(settings, placement, restart_policy="Always")
    # KubeRay sets its own, by which Ray's processes end in order; the head may checkpoint on SIGTERM.
    spec["terminationGracePeriodSeconds"] = 30
    del spec["restartPolicy"]
    labels = {names.LABEL_TRAINING: names.label_value(job["metadata"]["name"])}
    return {"metadata": {"labels": labels}, "spec": {**spec, "containers": [container]}}


def _submitter(job: Object, settings: Settings) -> Object:
    spec = parts.pod_spec(settings, {}, restart_policy="Never")
    return {**spec, "containers": [_container(job, settings, "ray-job-submitter", _SUBMITTER_RESOURCES)]}


def _container(job: Object, settings: Settings, name: str, resources: Object) -> Object:
    return {
        "name": name,
        "image": training.image(job, settings.trainer_image),
        "imagePullPolicy": settings.image_pull_policy,
        "securityContext": parts.locked_down(),
        "resources": resources,
    }
