"""Other spellings of a chat, to and from OpenAI's chat bodies: Responses, legacy completions, Gemini.

Each module has `to_chat(body)` and `from_chat(body, status, answer)`; neither knows a batch or a file. What cannot be
said as a chat is refused (OpenAI's spellings raise Refused, Gemini's InputError), never left out in silence.
"""
