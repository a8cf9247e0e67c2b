"""A recording loopback server that speaks as much Vertex AI and Cloud Storage as these tests need."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

from gemini_double import TIME, GeminiDouble, Says, Seen, answered, refusal

DIRECTORY = "prediction-model-2026-11-22T02:34:01.000Z"


class VertexDouble(GeminiDouble):
    """Jobs end as soon as they are asked for. `objects` is what lies in Cloud Storage."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, bytes] = {}
        self.always: dict[str, Any] = {}

    def answer(self, seen: Seen) -> Any:
        path = unquote(seen.path)
        if path in self.always:
            return self.always[path]
        if path.startswith(("/storage/", "/upload/storage/")):
            return self._storage(seen, path)
        match = re.fullmatch(r"/v1beta1((?:/projects/p/locations/[a-z0-9-]+)?/batchPredictionJobs)(?:/([^/]+))?", path)
        if match is None:
            return refusal(404, "NOT_FOUND", f"no route {path}")
        parent, name = match.groups()
        if name is None:
            if seen.method == "POST":
                return self._create_job(parent, seen.json)
            return {"batchPredictionJobs": list(self.jobs.values())}
        bare = name.removesuffix(":cancel")
        if bare not in self.jobs:
            return refusal(404, "NOT_FOUND", f"The BatchPredictionJob {bare} does not exist.")
        if name.endswith(":cancel"):
            return refusal(400, "FAILED_PRECONDITION", "the job has ended")
        if seen.method == "DELETE":
            del self.jobs[bare]
            return {"name": "projects/p/locations/l/operations/1", "done": True, "response": {}}
        return self.jobs[bare]

    def _create_job(self, parent: str, body: dict[str, Any]) -> Any:
        self.created += 1
        number = str(self.created)
        job = {"name": f"{parent[1:]}/{number}", "state": "JOB_STATE_PENDING", "createTime": TIME, **body}
        uris = body["inputConfig"].get("gcsSource", {}).get("uris")
        if uris is None:
            table = body["outputConfig"]["bigqueryDestination"]["outputUri"]
            ended = {"outputInfo": {"bigqueryOutputTable": table}}
        else:
            folder = f"{body['outputConfig']['gcsDestination']['outputUriPrefix'].rstrip('/')}/{DIRECTORY}"
            lines = [json.loads(line) for uri in uris for line in self.objects[uri].splitlines()]
            answers = [{"status": "", "processed_time": TIME, **line, "response": answered(line["request"])}
                       for line in reversed(lines)]  # fmt: skip
            self.objects[f"{folder}/predictions.jsonl"] = b"".join(json.dumps(one).encode() + b"\n" for one in answers)
            ended = {"outputInfo": {"gcsOutputDirectory": folder}}
        counts = {"completionStats": {"successfulCount": "2", "failedCount": "0", "incompleteCount": "0"}}
        self.jobs[number] = job | ended | counts | {"state": "JOB_STATE_SUCCEEDED", "endTime": TIME}
        return job

    def _storage(self, seen: Seen, path: str) -> Any:
        bucket, name = re.fullmatch(r"(?:/upload)?/storage/v1/b/([^/]+)/o(?:/(.*))?", path).groups()  # type: ignore[union-attr]
        if seen.method == "POST":
            uri = f"gs://{bucket}/{seen.query['name']}"
            self.objects[uri] = seen.body
            return self._about(uri)
        if name is None:
            prefix = f"gs://{bucket}/{seen.query.get('prefix', '')}"
            return {"items": [self._about(uri) for uri in sorted(self.objects) if uri.startswith(prefix)]}
        uri = f"gs://{bucket}/{name}"
        if uri not in self.objects:
            return refusal(404, "notFound", f"No such object: {bucket}/{name}")
        if seen.method == "DELETE":
            del self.objects[uri]
            return Says(204)
        return Says(body=self.objects[uri]) if seen.query.get("alt") == "media" else self._about(uri)

    def _about(self, uri: str) -> dict[str, Any]:
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        size = str(len(self.objects[uri]))
        return {"bucket": bucket, "name": name, "size": size, "generation": "1", "timeCreated": TIME}
