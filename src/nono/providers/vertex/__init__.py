"""Gemini on Vertex AI: batch prediction jobs over Cloud Storage and BigQuery.

The same models and requests as the Developer API's (`nono.providers.gemini`), under another host: jobs are resources of
a project and a location, requests and answers stay in the caller's own storage, and Google's credentials take the place
of a key. The service classes speak it with `vertexai=True`.
"""
