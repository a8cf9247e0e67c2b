"""Gemini's synchronous calls, models, keys and error envelopes on the local server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import httpx2
import pytest
from gemini_tools import MODEL, Raw, asking, line, refusal, sdk
from google.genai import errors, types
from server_tools import Told, chat_answer

from nono.server.app import LocalServer

Serving = Callable[..., tuple[LocalServer, Any]]
CANARY = "canary-4711"


class Asked(Told):
    """Keeps the bodies that it was asked with, and answers with a given message."""

    def __init__(self, **message: Any) -> None:
        super().__init__()
        self.bodies: list[Mapping[str, Any]] = []
        self._message = message

    def answer(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        self.bodies.append(body)
        answer = chat_answer(body)
        answer["choices"][0]["message"] |= self._message
        return 200, answer


@pytest.fixture
def raw(serving: Serving) -> Raw:
    return Raw(serving(Told(), embedding_model="simulated")[0])


def generate(raw: Raw, method: str = "generateContent", **body: Any) -> httpx2.Response:
    return raw("POST", f"models/{MODEL}:{method}", json=body)


# answers


def test_a_content_is_generated_as_in_a_batch(raw: Raw) -> None:
    reply = generate(raw, **asking("hello"))
    assert reply.headers["content-type"] == "application/json; charset=UTF-8"
    answer = reply.json()
    assert answer["candidates"][0]["content"] == {"parts": [{"text": "hello"}], "role": "model"}
    assert (answer["modelVersion"], answer["usageMetadata"]["totalTokenCount"]) == ("gemini-2.5-flash", 12)


def test_the_model_is_asked_by_the_name_that_the_client_gave(serving: Serving) -> None:
    model = Asked()
    generate(Raw(serving(model)[0]), **asking("x", model="models/ignored"))
    assert model.bodies == [{"model": "gemini-2.5-flash", "messages": [{"role": "user", "content": "x"}]}]


@pytest.mark.parametrize(("prompt", "status", "name"), [("fail", 400, "INVALID_ARGUMENT"), ("raise", 500, "INTERNAL")])
def test_a_models_refusal_is_an_error_of_the_call(raw: Raw, prompt: str, status: int, name: str) -> None:
    assert refusal(generate(raw, **asking(prompt)))[:2] == (status, name)


def test_a_field_in_the_wrong_place_is_named_with_the_right_one(raw: Raw) -> None:
    assert refusal(generate(raw, **asking("x", temperature=1))) == (
        400,
        "INVALID_ARGUMENT",
        "Invalid JSON payload received. no such field: 'temperature' in the request; it belongs into generation_config",
    )


def test_a_body_that_is_no_json_is_refused(raw: Raw) -> None:
    headers = {"content-type": "application/json"}
    reply = raw("POST", f"models/{MODEL}:generateContent", content=b"{", headers=headers)
    assert refusal(reply)[:2] == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("method", ["streamGenerateContent", "countTokens", "predict", "bidiGenerateContent"])
def test_what_is_not_imitated_says_what_is(raw: Raw, method: str) -> None:
    status, name, message = refusal(generate(raw, method, **asking("x")))
    assert (status, name) == (501, "UNIMPLEMENTED")
    assert ":generateContent" in message


def test_streaming_is_refused_to_the_sdk_in_so_many_words(serving: Serving) -> None:
    client = sdk(serving(Told())[0])
    with pytest.raises(errors.ServerError, match="This local server does not stream: use :generateContent"):
        list(client.models.generate_content_stream(model=MODEL, contents="x"))


def test_one_content_and_many_are_embedded(raw: Raw) -> None:
    content = {"parts": [{"text": "a"}]}
    one = raw("POST", "models/gemini-embedding-001:embedContent", json={"content": content, "outputDimensionality": 5})
    assert len(one.json()["embedding"]["values"]) == 5
    requests = [{"model": "models/gemini-embedding-001", "content": content, "output_dimensionality": 4}] * 2
    many = raw("POST", "models/gemini-embedding-001:batchEmbedContents", json={"requests": requests})
    assert [len(each["values"]) for each in many.json()["embeddings"]] == [4, 4]


def test_the_sdk_generates_and_embeds(serving: Serving) -> None:
    client = sdk(serving(Told(), embedding_model="simulated")[0])
    assert client.models.generate_content(model=MODEL, contents="hello").text == "hello"
    embedded = client.models.embed_content(
        model="gemini-embedding-001", contents=["a", "b"], config={"output_dimensionality": 8}
    )
    assert [len(each.values) for each in embedded.embeddings] == [8, 8]


def test_the_sdk_gets_a_function_call_and_gives_its_answer_back(serving: Serving) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}
    model = Asked(content=None, tool_calls=[call])
    client = sdk(serving(model)[0])

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    config = types.GenerateContentConfig(
        tools=[add], automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True)
    )
    answer = client.models.generate_content(model=MODEL, contents="1 + 2?", config=config)
    (made,) = answer.function_calls
    assert (made.name, made.args) == ("add", {"a": 1, "b": 2})
    function = model.bodies[0]["tools"][0]["function"]
    assert (function["name"], function["parameters"]["properties"]["a"]["type"]) == ("add", "integer")
    history = [
        types.Content(role="user", parts=[types.Part(text="1 + 2?")]),
        answer.candidates[0].content,
        types.Content(role="user", parts=[types.Part.from_function_response(name="add", response={"result": 3})]),
    ]
    client.models.generate_content(model=MODEL, contents=history, config=config)
    assert model.bodies[1]["messages"][1:] == [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": '{"result": 3}'},
    ]


def test_a_file_that_was_uploaded_here_is_put_into_the_request(serving: Serving) -> None:
    model = Asked()
    raw = Raw(serving(model)[0])
    url = raw.start(4, mime_type="image/png").headers["x-goog-upload-url"]
    file = raw.send(url, "upload, finalize", b"\x89PNG", 0).json()["file"]
    for uri in (file["name"], file["uri"], f"https://generativelanguage.googleapis.com/v1beta/{file['name']}"):
        part = {"fileData": {"fileUri": uri, "mimeType": "image/png"}}
        assert generate(raw, contents=[{"parts": [{"text": "see"}, part]}]).status_code == 200
    pictures = [body["messages"][0]["content"][1]["image_url"]["url"] for body in model.bodies]
    assert pictures == ["data:image/png;base64,iVBORw=="] * 3
    part = {"fileData": {"fileUri": "files/nope"}}
    assert refusal(generate(raw, contents=[{"parts": [part]}]))[:2] == (403, "PERMISSION_DENIED")


# models


def test_models_are_listed_and_looked_up(raw: Raw) -> None:
    names = [one["name"] for one in raw("GET", "models").json()["models"]]
    assert names[:2] == ["models/told", "models/simulated"]
    assert "models/gemini-2.5-flash" in names and "models/gpt-4o-mini" not in names
    first = raw("GET", "models", params={"pageSize": 2}).json()
    rest = raw("GET", "models", params={"pageToken": first["nextPageToken"]}).json()
    assert [one["name"] for one in first["models"] + rest["models"]] == names
    assert raw("GET", "models/gemini-2.5-flash").json()["supportedGenerationMethods"] == [
        "generateContent",
        "batchGenerateContent",
    ]
    assert refusal(raw("GET", "models/nope"))[:2] == (404, "NOT_FOUND")


def test_the_sdk_lists_models(serving: Serving) -> None:
    client = sdk(serving(Told())[0])
    assert "models/gemini-2.5-flash" in [model.name for model in client.models.list()]
    assert client.models.get(model=MODEL).name == "models/gemini-2.5-flash"


# which protocol


@pytest.mark.parametrize("base", ["/gemini/v1", "/gemini/v1beta", "/gemini/v1alpha", "/gemini", "/v1beta", "/v1alpha"])
def test_a_gemini_address_is_understood_without_a_key(raw: Raw, base: str) -> None:
    assert httpx2.get(f"{raw.url}{base}/batches").json() == {}


@pytest.mark.parametrize("base", ["/v1", ""])
def test_an_address_that_both_protocols_have_is_told_by_the_key(raw: Raw, base: str) -> None:
    assert httpx2.get(f"{raw.url}{base}/batches", headers={"x-goog-api-key": "k"}).json() == {}
    assert httpx2.get(f"{raw.url}{base}/batches", params={"key": "k"}).json() == {}
    assert httpx2.post(f"{raw.url}{base}/models/{MODEL}:generateContent", json=asking("x")).status_code == 200


def test_an_openai_client_gets_openais_answers(raw: Raw) -> None:
    listed = httpx2.get(f"{raw.url}/v1/batches", headers={"authorization": "Bearer k"}).json()
    assert listed["object"] == "list"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "nope"), ("POST", "batches"), ("GET", "batches/x:cancel"), ("POST", "tunes/x:run"), ("PUT", "files/x")],
)
def test_an_unknown_call_is_a_404_that_says_what_there_is(raw: Raw, method: str, path: str) -> None:
    status, name, message = refusal(raw(method, path))
    assert (status, name) == (404, "NOT_FOUND")
    assert "It imitates batches, files, their upload and download, models" in message


# keys


def test_a_server_with_a_key_refuses_as_the_service_does(serving: Serving) -> None:
    raw = Raw(serving(Told(), api_key=CANARY)[0])
    status, name, message = refusal(raw("GET", "batches", headers={}))
    assert (status, name) == (403, "PERMISSION_DENIED")
    assert message.startswith("Method doesn't allow unregistered callers")
    reply = raw("GET", "batches", headers={"x-goog-api-key": "wrong"})
    assert refusal(reply) == (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")
    assert reply.json()["error"]["details"][0]["reason"] == "API_KEY_INVALID"
    assert CANARY not in reply.text


def test_the_right_key_may_come_in_three_ways(serving: Serving) -> None:
    raw = Raw(serving(Told(), api_key=CANARY)[0])
    assert raw("GET", "batches", headers={"x-goog-api-key": CANARY}).status_code == 200
    assert raw("GET", "batches", headers={"authorization": f"Bearer {CANARY}"}).status_code == 200
    assert raw("GET", "batches", headers={}, params={"key": CANARY}).status_code == 200


def test_the_address_of_an_upload_needs_no_key_and_opens_nothing_else(serving: Serving) -> None:
    raw = Raw(serving(Told(), api_key=CANARY)[0])
    start = {"X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start"}
    address = f"{raw.url}/upload/v1beta/files"
    assert httpx2.post(address, headers=start, json={}).status_code == 403
    assert httpx2.post(f"{address}?upload_id=x", headers=start, json={}).status_code == 404
    url = httpx2.post(address, headers={**start, "x-goog-api-key": CANARY}, json={}).headers["x-goog-upload-url"]
    assert raw.send(url, "upload, finalize", b"abc", 0).status_code == 200
    assert raw("GET", "batches?upload_id=x", headers={}).status_code == 403


def test_a_page_of_another_origin_cannot_create_anything(raw: Raw) -> None:
    reply = raw("POST", f"models/{MODEL}:generateContent", json=asking("x"), headers={"origin": "https://evil.example"})
    assert refusal(reply)[:2] == (403, "PERMISSION_DENIED")


def test_the_simulated_model_answers_every_wish_of_a_batch(serving: Serving) -> None:
    server, _ = serving()
    raw = Raw(server)
    schema = {"type": "OBJECT", "properties": {"a": {"type": "INTEGER"}}, "required": ["a"]}
    wishes = {
        "search": asking("who?", tools=[{"googleSearch": {}}]),
        "picture": asking("draw", generationConfig={"responseModalities": ["TEXT", "IMAGE"]}),
        "json": asking("list", generationConfig={"responseMimeType": "application/json", "responseSchema": schema}),
        "broken": asking("[[nono:error 429]]"),
    }
    lines = [{"key": key, "request": request} for key, request in wishes.items()]
    answers = {one["key"]: one for one in raw.answers(raw.reached(raw.created(lines)))}
    candidate = answers["search"]["response"]["candidates"][0]
    assert candidate["groundingMetadata"]["groundingChunks"][0]["web"]["uri"].startswith("https://example.com/")
    parts = answers["picture"]["response"]["candidates"][0]["content"]["parts"]
    assert [set(part) for part in parts] == [{"text"}, {"inlineData"}]
    assert parts[1]["inlineData"]["data"].startswith("iVBORw0KGgo")
    text = answers["json"]["response"]["candidates"][0]["content"]["parts"][0]["text"]
    assert text.startswith('{"a": ')
    assert answers["broken"]["error"]["code"] == 8


def test_a_line_of_a_file_may_name_a_file(serving: Serving) -> None:
    model = Asked()
    raw = Raw(serving(model)[0])
    url = raw.start(2, mime_type="text/plain").headers["x-goog-upload-url"]
    name = raw.send(url, "upload, finalize", b"hi", 0).json()["file"]["name"]
    part = {"file_data": {"file_uri": name}}
    lines = [{"key": "a", "request": {"contents": [{"parts": [part]}]}}, line("b", "x")]
    raw.answers(raw.reached(raw.created(lines)))
    assert [body["messages"][0]["content"] for body in model.bodies] == ["hi", "x"]
