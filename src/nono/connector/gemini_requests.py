"""The constants of `GeminiBatchService`, its request builders and readers of answers: no key, no network needed."""

from __future__ import annotations

from nono.providers.gemini import bodies, media


class GeminiRequests:
    """What both Gemini service classes have without being connected to anything."""

    # https://ai.google.dev/api/batch-api (BatchState); the second half exists on Vertex AI only
    STATE_PENDING = "JOB_STATE_PENDING"
    STATE_RUNNING = "JOB_STATE_RUNNING"
    STATE_SUCCEEDED = "JOB_STATE_SUCCEEDED"
    STATE_FAILED = "JOB_STATE_FAILED"
    STATE_CANCELLED = "JOB_STATE_CANCELLED"
    STATE_EXPIRED = "JOB_STATE_EXPIRED"
    STATE_UNSPECIFIED = "JOB_STATE_UNSPECIFIED"
    STATE_QUEUED = "JOB_STATE_QUEUED"
    STATE_PAUSED = "JOB_STATE_PAUSED"
    STATE_UPDATING = "JOB_STATE_UPDATING"
    STATE_CANCELLING = "JOB_STATE_CANCELLING"
    STATE_PARTIALLY_SUCCEEDED = "JOB_STATE_PARTIALLY_SUCCEEDED"

    DEFAULT_MODEL = bodies.DEFAULT_MODEL
    DEFAULT_EMBEDDING_MODEL = bodies.DEFAULT_EMBEDDING_MODEL

    build_request = staticmethod(bodies.build_request)
    build_requests_from_prompts = staticmethod(bodies.build_requests_from_prompts)
    build_request_with_search = staticmethod(bodies.build_request_with_search)
    build_structured_request = staticmethod(bodies.build_structured_request)
    build_image_request = staticmethod(bodies.build_image_request)
    build_embedding_request = staticmethod(bodies.build_embedding_request)

    # Of the answers' `response`: vectors, pictures and sounds, calls of functions, what Google Search gave.
    vectors_of = staticmethod(media.vectors_of)
    save_media = staticmethod(media.save_media)
    media_of = staticmethod(media.media_of)
    function_calls_of = staticmethod(media.function_calls_of)
    grounding_of = staticmethod(media.grounding_of)
