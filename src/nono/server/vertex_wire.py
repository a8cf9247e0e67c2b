"""Vertex AI's addresses, objects and errors as the service writes them, over one batch of ours.

https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.batchPredictionJobs
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from starlette.responses import Response

from nono.facts import read_facts
from nono.server.clock import rfc3339
from nono.server.gemini_wire import JSON_TYPE, error_body
from nono.server.records import Batch, State

PROTOCOL = "vertex"
FACTS = read_facts(PROTOCOL)
STATES: dict[State, str] = {
    State.VALIDATING: "JOB_STATE_PENDING",
    State.QUEUED: "JOB_STATE_QUEUED",
    State.RUNNING: "JOB_STATE_RUNNING",
    State.FINALIZING: "JOB_STATE_RUNNING",
    State.COMPLETED: "JOB_STATE_SUCCEEDED",
    State.FAILED: "JOB_STATE_FAILED",
    State.EXPIRED: "JOB_STATE_EXPIRED",
    State.CANCELLING: "JOB_STATE_CANCELLING",
    State.CANCELLED: "JOB_STATE_CANCELLED",
}
# google.rpc codes of the ends that are not good ones; the service was seen to use them.
_ENDS: dict[State, tuple[int, str]] = {
    State.FAILED: (13, "The job failed."),
    State.CANCELLED: (1, "CANCELED"),
    State.EXPIRED: (4, "The job was not finished in time."),
}
_OURS = re.compile(
    r"/(v1|v1beta1)/(projects/[^/]+/locations/[^/]+/(batchPredictionJobs|operations|publishers)|batchPredictionJobs)"
    r"([/:]|$) | /((upload|download)/)?storage/v1/ | /bigquery/",
    re.VERBOSE,
)


def is_vertex(path: str) -> bool:
    """Whether a call is Vertex AI's, Cloud Storage's or BigQuery's: their paths are like nobody else's."""
    return bool(_OURS.match(path))


def reply(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value) + b"\n", status, media_type=JSON_TYPE)


def refusal(status: int, message: str, name: str | None) -> Response:
    """The envelope of an error; `name` is the google.rpc code where the HTTP status does not tell it."""
    body = error_body(status, message)
    if name:
        body["error"]["status"] = name
    return reply(body, status)


def job_object(batch: Batch) -> dict[str, Any]:
    """A batch as a BatchPredictionJob."""
    told = batch.details
    shown: dict[str, Any] = {
        "name": f"{told['parent']}/batchPredictionJobs/{batch.id}",
        "displayName": told["displayName"],
        "model": told["model"],
        "inputConfig": told["inputConfig"],
        "outputConfig": told["outputConfig"],
        "state": STATES[batch.state],
        "createTime": rfc3339(batch.created_ns),
    }
    if State.RUNNING in batch.moved_ns:
        shown["startTime"] = rfc3339(batch.moved_ns[State.RUNNING])
    if batch.state.ended:
        shown["endTime"] = rfc3339(batch.moved_ns[batch.state])
    shown["updateTime"] = rfc3339(batch.updated_ns)
    if batch.state in _ENDS:
        code, message = _ENDS[batch.state]
        found = (batch.errors or [{}])[0]
        shown["error"] = {"code": found.get("code", code), "message": found.get("message", message)}
    if batch.outputs:
        shown["outputInfo"] = {"gcsOutputDirectory": output_folder(batch)}
    counts = batch.counts
    if counts.total:
        left = counts.total - counts.ok - counts.failed
        shown["completionStats"] = {
            "successfulCount": str(counts.ok),
            "failedCount": str(counts.failed),
            "incompleteCount": str(left),
        }
    return shown


def output_folder(batch: Batch) -> str:
    prefix = str(batch.details["outputConfig"]["gcsDestination"]["outputUriPrefix"]).rstrip("/")
    return f"{prefix}/prediction-model-{rfc3339(batch.created_ns)}"
