"""Schemas of the custom resources in use, limited to the fields in use: unlisted fields are rejected.

Written by hand from the reference documentation; native types such as containers are validated separately.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_TEXT: Schema = {"type": "string", "minLength": 1}
_TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_NUMBER: Schema = {"type": "integer"}
_TRUE_OR_FALSE: Schema = {"type": "boolean"}
_DURATION: Schema = {
    "type": "string",
    "pattern": r"^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
    "minLength": 2,
}
_ANYTHING: Schema = {}
_METADATA = _object(("name",), name=_TEXT, namespace=_TEXT, labels=_TEXTS, annotations=_TEXTS)


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


def _resource(api_version: str, spec: Schema) -> Schema:
    return _object(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": api_version},
        kind=_TEXT,
        metadata=_METADATA,
        spec=spec,
    )


_ALERT = _object(
    ("alert", "expr"),
    alert=_TEXT,
    expr=_TEXT,
    **{"for": _DURATION, "keep_firing_for": _DURATION},
    labels=_TEXTS,
    annotations=_TEXTS,
)
_RECORD = _object(("record", "expr"), record=_TEXT, expr=_TEXT, labels=_TEXTS)
_GROUP = _object(
    ("name", "rules"), name=_TEXT, interval=_DURATION, limit=_NUMBER, rules=_list({"oneOf": [_ALERT, _RECORD]})
)

_ENDPOINT = _object(
    ("port", "path"),
    port=_TEXT,
    path=_TEXT,
    interval=_DURATION,
    scrapeTimeout=_DURATION,
    scheme={"enum": ["http", "https"]},
    tlsConfig=_object(insecureSkipVerify=_TRUE_OR_FALSE),
    authorization=_object(("credentials",), credentials=_object(("name", "key"), name=_TEXT, key=_TEXT)),
)
_PROTOCOL: Schema = {
    "enum": [
        "PrometheusProto",
        "OpenMetricsText0.0.1",
        "OpenMetricsText1.0.0",
        "PrometheusText0.0.4",
        "PrometheusText1.0.0",
    ]
}


def _monitor(endpoints: str) -> Schema:
    """A ServiceMonitor or PodMonitor, which differ in the name of this field."""
    spec = _object(
        ("selector", endpoints),
        selector=_object(matchLabels=_TEXTS),
        jobLabel=_TEXT,
        scrapeProtocols=_list(_PROTOCOL),
        **{endpoints: _list(_ENDPOINT)},
    )
    return _resource("monitoring.coreos.com/v1", spec)


_HOST: Schema = {
    "type": "string",
    "pattern": r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
}
_PARENT = _object(("name",), group=_TEXT, kind=_TEXT, name=_TEXT, namespace=_TEXT, port=_NUMBER, sectionName=_TEXT)
_BACKENDS = _list(_object(("name", "port"), name=_TEXT, port=_NUMBER))
_MATCH = _object(
    ("path",), path=_object(("type", "value"), type={"enum": ["Exact", "PathPrefix", "RegularExpression"]}, value=_TEXT)
)
_HTTP_RULE = _object(
    ("backendRefs",),
    matches=_list(_MATCH),
    backendRefs=_BACKENDS,
    timeouts=_object(request=_DURATION, backendRequest=_DURATION),
)


def _route(rule: Schema) -> Schema:
    """An HTTPRoute or GRPCRoute with rules of this kind."""
    spec = _object(("parentRefs", "rules"), parentRefs=_list(_PARENT), hostnames=_list(_HOST), rules=_list(rule))
    return _resource("gateway.networking.k8s.io/v1", spec)


#: What the trigger `prometheus` reads; all of it is text.
_QUERY = _object(
    ("serverAddress", "query", "threshold"),
    serverAddress=_TEXT,
    query=_TEXT,
    threshold={"type": "string", "pattern": r"^[0-9.]+$"},
    ignoreNullValues={"enum": ["true", "false"]},
)
_TRIGGER = _object(
    ("type", "metadata"),
    type={"const": "prometheus"},
    name=_TEXT,
    metricType={"enum": ["AverageValue", "Value"]},
    metadata=_QUERY,
    authenticationRef=_object(("name",), name=_TEXT),
)
_SCALED_OBJECT = _object(
    ("scaleTargetRef", "triggers"),
    scaleTargetRef=_object(("name",), apiVersion=_TEXT, kind=_TEXT, name=_TEXT),
    pollingInterval=_NUMBER,
    minReplicaCount=_NUMBER,
    maxReplicaCount=_NUMBER,
    fallback=_object(
        ("failureThreshold", "replicas"),
        failureThreshold=_NUMBER,
        replicas=_NUMBER,
        behavior={"enum": ["static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"]},
    ),
    # The behaviour is that of a HorizontalPodAutoscaler, and validated as such.
    advanced=_object(horizontalPodAutoscalerConfig=_object(behavior=_ANYTHING)),
    triggers=_list(_TRIGGER),
)

_FORMAT = _object(("name",), name=_TEXT, version=_TEXT)
_SUPPORTED = _object(("name",), name=_TEXT, version=_TEXT, autoSelect=_TRUE_OR_FALSE, priority=_NUMBER)
_PREDICTOR = _object(
    ("model",),
    minReplicas=_NUMBER,
    maxReplicas=_NUMBER,
    automountServiceAccountToken=_TRUE_OR_FALSE,
    enableServiceLinks=_TRUE_OR_FALSE,
    terminationGracePeriodSeconds=_NUMBER,
    model=_object(("modelFormat", "storageUri"), modelFormat=_FORMAT, runtime=_TEXT, storageUri=_TEXT),
)

#: Kubeflow Trainer 2.2; its Jobs and pods have the schema of Kubernetes and are validated apart.
_REPLICATED_JOB = _object(("name", "template"), name=_TEXT, replicas=_NUMBER, template=_ANYTHING)
_JOB_SET = _object(
    ("replicatedJobs",),
    replicatedJobs=_list(_REPLICATED_JOB),
    failurePolicy=_object(("maxRestarts",), maxRestarts=_NUMBER),
)
_TRAINER = _object(
    (),
    image=_TEXT,
    command=_list(_TEXT),
    args=_list(_TEXT),
    env=_list(_object(("name",), name=_TEXT, value=_TEXT)),
    numNodes=_NUMBER,
    numProcPerNode=_NUMBER,
    resourcesPerNode=_object(requests=_TEXTS, limits=_TEXTS),
)

#: KubeRay 1.6, `ray.io/v1`. Pods have the schema of Kubernetes, and the configuration of Serve that of Ray: both apart.
_RAY_POD = _object(("spec",), metadata=_METADATA, spec=_ANYTHING)
_RAY_CLUSTER = _object(
    ("headGroupSpec",),
    rayVersion=_TEXT,
    enableInTreeAutoscaling=_TRUE_OR_FALSE,
    headGroupSpec=_object(("template", "rayStartParams"), rayStartParams=_TEXTS, template=_RAY_POD),
    workerGroupSpecs=_list(
        _object(
            ("groupName", "template", "rayStartParams"),
            groupName=_TEXT,
            replicas=_NUMBER,
            minReplicas=_NUMBER,
            maxReplicas=_NUMBER,
            rayStartParams=_TEXTS,
            template=_RAY_POD,
        )
    ),
)

SCHEMAS: dict[str, Schema] = {
    "RayService": _resource(
        "ray.io/v1",
        _object(
            ("serveConfigV2", "rayClusterConfig"),
            serveConfigV2=_TEXT,
            rayClusterConfig=_RAY_CLUSTER,
        ),
    ),
    "TrainJob": _resource(
        "trainer.kubeflow.org/v1alpha1",
        _object(
            ("runtimeRef",),
            runtimeRef=_object(("name",), name=_TEXT, kind=_TEXT, apiGroup=_TEXT),
            trainer=_TRAINER,
            suspend=_TRUE_OR_FALSE,
            activeDeadlineSeconds=_NUMBER,
        ),
    ),
    "TrainingRuntime": _resource(
        "trainer.kubeflow.org/v1alpha1",
        _object(
            ("template",),
            mlPolicy=_object(numNodes=_NUMBER, torch=_object()),
            template=_object(("spec",), metadata=_METADATA, spec=_JOB_SET),
        ),
    ),
    "PrometheusRule": _resource("monitoring.coreos.com/v1", _object(("groups",), groups=_list(_GROUP))),
    "ServiceMonitor": _monitor("endpoints"),
    "PodMonitor": _monitor("podMetricsEndpoints"),
    "HTTPRoute": _route(_HTTP_RULE),
    "GRPCRoute": _route(_object(("backendRefs",), backendRefs=_BACKENDS)),
    "ScaledObject": _resource("keda.sh/v1alpha1", _SCALED_OBJECT),
    "ServingRuntime": _resource(
        "serving.kserve.io/v1alpha1",
        _object(
            ("supportedModelFormats", "containers"),
            annotations=_TEXTS,
            supportedModelFormats=_list(_SUPPORTED),
            protocolVersions=_list({"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]}),
            containers=_list(_ANYTHING),
        ),
    ),
    "InferenceService": _resource("serving.kserve.io/v1beta1", _object(("predictor",), predictor=_PREDICTOR)),
}
