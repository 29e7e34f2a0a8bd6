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

_ENDPOINT = _object(("port", "path"), port=_TEXT, path=_TEXT, interval=_DURATION, scrapeTimeout=_DURATION)
_PROTOCOL: Schema = {
    "enum": [
        "PrometheusProto",
        "OpenMetricsText0.0.1",
        "OpenMetricsText1.0.0",
        "PrometheusText0.0.4",
        "PrometheusText1.0.0",
    ]
}

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

SCHEMAS: dict[str, Schema] = {
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
    "ServiceMonitor": _resource(
        "monitoring.coreos.com/v1",
        _object(
            ("selector", "endpoints"),
            selector=_object(matchLabels=_TEXTS),
            jobLabel=_TEXT,
            scrapeProtocols=_list(_PROTOCOL),
            endpoints=_list(_ENDPOINT),
        ),
    ),
    "ServingRuntime": _resource(
        "serving.kserve.io/v1alpha1",
        _object(
            ("supportedModelFormats", "containers"),
            supportedModelFormats=_list(_SUPPORTED),
            protocolVersions=_list({"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]}),
            containers=_list(_ANYTHING),
        ),
    ),
    "InferenceService": _resource("serving.kserve.io/v1beta1", _object(("predictor",), predictor=_PREDICTOR)),
}
