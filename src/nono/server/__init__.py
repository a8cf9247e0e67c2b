"""The local batch server. What it is made of is an extra; without that, importing anything of it says so.

Raises MissingExtra, an ImportError.
"""

from importlib.util import find_spec

from nono.errors import MissingExtra

if not all(map(find_spec, ("starlette", "uvicorn", "python_multipart"))):
    raise MissingExtra("the local server", "server")
