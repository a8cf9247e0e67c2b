"""Files of the two hosts behind the same four verbs: the Developer API's own, and objects in Cloud Storage."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from nono.errors import InputError
from nono.exchange import Flow
from nono.files import source_path
from nono.providers.gemini import flows, uploads
from nono.providers.gemini.wire import File
from nono.providers.vertex.flows import VertexJobs
from nono.providers.vertex.storage import Bucket

Progress = Callable[[int, int], object]


def upload(
    vertex: VertexJobs | None,
    file_path: str | os.PathLike[str],
    name: str | None,
    display_name: str | None,
    mime_type: str,
    on_progress: Progress | None,
) -> Flow[File]:
    path = source_path(file_path)
    if vertex is None:
        return (
            yield from uploads.upload(
                path, name=name, display_name=display_name, mime_type=mime_type, on_progress=on_progress
            )
        )
    if name is None:
        raise InputError("where to? Vertex AI reads from your own storage", hint="name='gs://bucket/in.jsonl'")
    size_bytes = path.stat().st_size
    told = (lambda sent: on_progress(sent, size_bytes)) if on_progress else None
    return (yield from _bucket(vertex).put(path, name, mime_type=mime_type, on_sent=told))


def get(vertex: VertexJobs | None, name: str) -> Flow[File]:
    return uploads.get_file(name) if vertex is None else _bucket(vertex).stat(name)


def everything(vertex: VertexJobs | None, prefix: str | None) -> Flow[list[File]]:
    if vertex is None:
        if prefix is not None:
            raise InputError("the Developer API lists all files, without a prefix", hint="leave prefix out")
        return (yield from uploads.list_files())
    if prefix is None:
        raise InputError("which files? Vertex AI's are in your own storage", hint="prefix='gs://bucket/folder/'")
    return (yield from _bucket(vertex).list(prefix))


def delete(vertex: VertexJobs | None, name: str) -> Flow[None]:
    yield from (uploads.delete_file(name) if vertex is None else _bucket(vertex).delete(name))


def download(vertex: VertexJobs | None, name: str, path: Path) -> Flow[Path]:
    if vertex is None:
        return (yield from flows.download_file(name, path))
    bucket = _bucket(vertex)
    return (yield from bucket.fetch((yield from bucket.stat(name)), path))


def _bucket(vertex: VertexJobs) -> Bucket:
    return Bucket(vertex.place.storage_url)
