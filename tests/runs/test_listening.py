"""A webhook wakes a run that would have looked in an hour; one that is not signed does nothing."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from engine_tools import EAGER, Beside, texts

from nono.errors import MissingKey
from nono.exchange import Call, Reply, Send
from nono.runs.listening import listen
from nono.server.app import LocalServer
from nono.webhooks import sign
from patience import PATIENT_S

SECRET = "whsec_c2VjcmV0"
BODY = b'{"id": "evt_1", "type": "batch.completed", "data": {"id": "batch_1"}}'
PATIENT = replace(EAGER, poll_first_s=3600.0, poll_cap_s=3600.0)


@pytest.fixture
def beside(tmp_path: Path, server: LocalServer) -> Beside:
    return Beside(tmp_path / "home", server)


class UntilReleased:
    """A service whose batches seem to be at work until they are released; `looked` is set by the first look."""

    def __init__(self) -> None:
        self.looked, self.released = threading.Event(), threading.Event()

    def __call__(self, send: Send) -> Send:
        def wrapped(call: Call) -> Reply:
            reply = send(call)
            if call.path.startswith("/batches") and call.method == "GET" and not self.released.is_set():
                body = json.loads(reply.body)
                for batch in body.get("data", [body]):
                    batch |= {"status": "in_progress", "output_file_id": None, "error_file_id": None}
                    self.looked.set()
                return Reply(reply.status, reply.headers, json.dumps(body).encode())
            return reply

        return wrapped


def post(port: int, signature: str) -> int:
    stamp = str(int(time.time()))
    headers = {"webhook-id": "wh_1", "webhook-timestamp": stamp}
    headers["webhook-signature"] = signature or sign(BODY, "wh_1", int(stamp), SECRET)
    return httpx2.post(f"http://127.0.0.1:{port}/", content=BODY, headers=headers).status_code


def test_a_signed_webhook_makes_the_run_look_at_once(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", SECRET)
    service = UntilReleased()
    run = beside.run(texts(2), through=service, settings=PATIENT)
    working = threading.Thread(target=run.wait, daemon=True)
    with listen(run, 0) as port:
        working.start()
        assert service.looked.wait(PATIENT_S)
        service.released.set()
        assert post(port, "v1,bm90IHRoaXMgb25l") == 400
        assert run.status.succeeded == 0
        assert post(port, "") == 200
        working.join(timeout=PATIENT_S)
    assert run.status.succeeded == 2


def test_nobody_listens_without_a_secret(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NONO_WEBHOOK_SECRET", raising=False)
    run = beside.run(texts(1))
    with pytest.raises(MissingKey, match="webhooks need their signing secret"), listen(run, 0):
        pass
