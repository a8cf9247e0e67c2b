"""The world that misbehaves on request: named faults as rows, a clock that can be steered, a log of what happened.

`rules` reads what is asked for, `catalogue` is the table of what there is; `layer` applies it to calls, `world` to
batches; `control` is the way to it over HTTP. A server without faults imports nothing of this.
"""
