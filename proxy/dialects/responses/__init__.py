"""OpenAI's Responses API, served from an upstream's chat completions: an `openai` route with `responses: emulate`.

`app.py` has the endpoints, `translation.py` what a generation says, `draft.py` the response that it makes.
"""
