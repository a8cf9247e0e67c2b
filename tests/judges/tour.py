"""A tour through every call of one official SDK against a server; prints what it saw as JSON.

Run by the interpreter of an environment that has the SDK: the current one, or the one before.
Usage: tour.py openai|gemini BASE_URL
"""

from __future__ import annotations

import io
import json
import sys
import time
from typing import Any

CHAT_LINES = b"".join(
    json.dumps(
        {
            "custom_id": f"q-{n}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"Say {n}"}]},
        }
    ).encode()
    + b"\n"
    for n in range(3)
)


def wait(poll: Any, ended: Any) -> Any:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        seen = poll()
        if ended(seen):
            return seen
        time.sleep(0.02)
    raise TimeoutError(str(seen))


def openai_tour(base_url: str) -> dict[str, Any]:
    import openai

    client = openai.OpenAI(api_key="k", base_url=base_url, max_retries=0)
    seen: dict[str, Any] = {"major": int(openai.__version__.split(".")[0])}
    file = client.files.create(file=("in.jsonl", io.BytesIO(CHAT_LINES)), purpose="batch")
    seen["file"] = [file.object, file.bytes == len(CHAT_LINES), file.purpose, file.status]
    seen["retrieved"] = client.files.retrieve(file.id).id == file.id
    seen["listed"] = file.id in [one.id for one in client.files.list(purpose="batch")]
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"k": "v"}
    )
    seen["created"] = [batch.status, batch.metadata, batch.expires_at - batch.created_at, batch.output_file_id]
    over = ("completed", "failed", "expired", "cancelled")
    done = wait(lambda: client.batches.retrieve(batch.id), lambda b: b.status in over)
    counts = done.request_counts
    seen["done"] = [done.status, counts.total, counts.completed, counts.failed, done.error_file_id]
    lines = client.files.content(done.output_file_id).text.strip().split("\n")
    answers = {json.loads(line)["custom_id"]: json.loads(line) for line in lines}
    seen["ids"] = sorted(answers)
    message = answers["q-0"]["response"]["body"]["choices"][0]["message"]
    seen["answer"] = [answers["q-0"]["response"]["status_code"], message["role"], bool(message["content"])]
    with client.files.with_streaming_response.content(done.output_file_id) as response:
        seen["streamed"] = len(b"".join(response.iter_bytes())) > 100
    others = [
        client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h").id
        for _ in range(2)
    ]
    paged = [one.id for one in client.batches.list(limit=1)]
    seen["paged"] = [paged[:2] == others[::-1], paged[2] == batch.id, len(paged)]
    try:
        client.batches.cancel(batch.id)
    except openai.ConflictError as error:
        seen["conflict"] = [error.status_code, "completed" in str(error)]
    for name, call in {
        "no_batch": lambda: client.batches.retrieve("batch_nope"),
        "no_file": lambda: client.files.retrieve("file-nope"),
        "no_content": lambda: client.files.content("file-nope"),
        "bad_endpoint": lambda: client.batches.create(
            input_file_id=file.id,
            endpoint="/v1/nope",
            completion_window="24h",
        ),
    }.items():
        try:
            call()
        except openai.APIStatusError as error:
            seen[name] = [type(error).__name__, error.status_code, error.type]
    chat = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
    seen["chat"] = [chat.object, bool(chat.choices[0].message.content), chat.usage.total_tokens > 0]
    vectors = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=8)
    seen["embeddings"] = [len(vectors.data), len(vectors.data[0].embedding)]
    response = client.responses.create(model="gpt-4o-mini", input="hi")
    seen["responses"] = [response.status, bool(response.output_text)]
    verdict = client.moderations.create(model="omni-moderation-latest", input="hello").results[0]
    seen["moderations"] = [verdict.flagged, verdict.categories.violence]
    upload = client.uploads.create(
        bytes=len(CHAT_LINES), filename="up.jsonl", mime_type="application/jsonl", purpose="batch"
    )
    part = client.uploads.parts.create(upload.id, data=io.BytesIO(CHAT_LINES))
    whole = client.uploads.complete(upload.id, part_ids=[part.id])
    seen["upload"] = [whole.status, whole.file.bytes == len(CHAT_LINES)]
    seen["deleted"] = client.files.delete(file.id).deleted
    seen["models"] = any(model.object == "model" for model in client.models.list())
    return seen


def gemini_tour(base_url: str) -> dict[str, Any]:
    from google import genai
    from google.genai import errors, types

    client = genai.Client(api_key="k", http_options={"base_url": base_url})
    seen: dict[str, Any] = {"major": int(genai.__version__.split(".")[0])}
    lines = b"".join(
        json.dumps({"key": f"k{n}", "request": {"contents": [{"parts": [{"text": f"Say {n}"}]}]}}).encode() + b"\n"
        for n in range(3)
    )
    file = client.files.upload(file=io.BytesIO(lines), config={"mime_type": "jsonl", "display_name": "in"})
    seen["file"] = [file.state.name, file.size_bytes, file.mime_type, file.display_name]
    seen["retrieved"] = client.files.get(name=file.name).name == file.name
    seen["listed"] = file.name in [one.name for one in client.files.list(config={"page_size": 10})]
    model = "gemini-2.5-flash"
    job = client.batches.create(model=model, src=file.name, config={"display_name": "tour"})
    seen["created"] = [job.display_name, job.model, job.state.name]

    def done(batch: Any) -> bool:
        return batch.state.name in ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")

    ended = wait(lambda: client.batches.get(name=job.name), done)
    seen["done"] = [ended.state.name, ended.dest.file_name.startswith("files/batch-")]
    answers = [json.loads(line) for line in client.files.download(file=ended.dest.file_name).strip().split(b"\n")]
    seen["keys"] = sorted(answer["key"] for answer in answers)
    seen["text"] = bool(answers[0]["response"]["candidates"][0]["content"]["parts"][0]["text"])
    inline = client.batches.create(
        model=model,
        src=[
            {"contents": "hello", "metadata": {"key": "a"}},
            {
                "contents": [{"parts": [{"text": "structured"}], "role": "user"}],
                "config": {
                    "response_mime_type": "application/json",
                    "response_schema": {"type": "OBJECT", "properties": {"x": {"type": "INTEGER"}}},
                },
                "metadata": {"key": "b"},
            },
        ],
    )
    inlined = wait(lambda: client.batches.get(name=inline.name), done).dest.inlined_responses
    seen["inline"] = [len(inlined), isinstance(json.loads(inlined[1].response.text)["x"], int)]
    seen["paged"] = [one.name for one in client.batches.list(config={"page_size": 1})] == [inline.name, job.name]
    vectors = client.batches.create_embeddings(
        model="gemini-embedding-001",
        src={"inlined_requests": {"contents": ["t1", "t2"], "config": {"output_dimensionality": 8}}},
    )
    embedded = wait(lambda: client.batches.get(name=vectors.name), done).dest.inlined_embed_content_responses
    seen["embeddings"] = [len(embedded), len(embedded[0].response.embedding.values)]
    seen["cancelled"] = client.batches.cancel(name=vectors.name) is None
    client.batches.delete(name=job.name)
    for name, call in {
        "deleted": lambda: client.batches.get(name=job.name),
        "no_file": lambda: client.files.get(name="files/nope"),
        "bad_model": lambda: client.batches.create(model="nope-model", src=file.name),
    }.items():
        try:
            call()
        except errors.ClientError as error:
            seen[name] = [error.code, error.status]
    answer = client.models.generate_content(
        model=model, contents="hi", config=types.GenerateContentConfig(max_output_tokens=5)
    )
    seen["generate"] = [bool(answer.text), answer.usage_metadata.total_token_count > 0]
    client.files.delete(name=file.name)
    return seen


if __name__ == "__main__":
    tours = {"openai": openai_tour, "gemini": gemini_tour}
    print(json.dumps(tours[sys.argv[1]](sys.argv[2])))
