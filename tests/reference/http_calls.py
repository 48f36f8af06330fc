"""The rows of the page of HTTP calls: method, path behind the route's, and what the call does."""

from typing import Final

Calls = list[tuple[str, str, str]]

NATIVE: Final[Calls] = [
    ("GET", "/generations", "own generations, newest first; `limit` (1 to 100, 20), `cursor`"),
    ("GET", "/generations/{id}", "the record: outcome, cause, tokens with their source, text"),
    ("POST", "/generations/{id}/cancel", 'stops it and answers with the receipt; the body may be `{"reason": "…"}`'),
    ("POST", "/generations/cancel", 'stops all own that match `{"user": …}`, `{"tag": {…}}` or `{"all": true}`'),
    ("GET", "/generations/{id}/events", "its stream again, from the start or behind `Last-Event-ID`"),
]

TITLES: Final = {
    "openai": "`openai`",
    "responses": "`openai` with `responses: emulate`",
    "anthropic": "`anthropic`",
    "gemini": "`openai`, upstream with `format: gemini`",
    "dify": "`dify`",
    "async_messages": "`async_messages`",
    "aitronos": "`aitronos`",
    "assistants": "`assistants`",
}

CALLS: Final[dict[str, Calls]] = {
    "openai": [
        ("POST", "/chat/completions", "a chat completion, passed through"),
        ("POST", "/completions", "a completion, passed through"),
        ("POST", "/responses", "a response, passed through"),
        ("POST", "/embeddings", "embeddings; likewise audio, images, moderations, `/rerank`"),
        ("POST", "/chat/completions/{id}/cancel", "the stop; means the native one"),
        ("POST", "/completions/{id}/cancel", "the same"),
        ("POST", "/responses/{response_id}/cancel", "stops a response"),
    ],
    "responses": [
        ("POST", "/responses", "a response: whole, streamed, or in the background"),
        ("GET", "/responses/{response_id}", "the response, or with `stream=true` its events behind `starting_after`"),
        ("DELETE", "/responses/{response_id}", "stops and deletes it"),
        ("POST", "/responses/{response_id}/cancel", "stops it"),
        ("GET", "/responses/{response_id}/input_items", "the request's own input"),
    ],
    "anthropic": [
        ("POST", "/messages", "a message, passed through"),
        ("POST", "/messages/{id}/cancel", "the stop"),
    ],
    "gemini": [
        ("POST", "/models/{model}:generateContent", "an answer, passed through"),
        ("POST", "/models/{model}:streamGenerateContent", "the same as a stream"),
    ],
    "dify": [
        ("POST", "/completion-messages", "a completion, `blocking` or `streaming`"),
        ("POST", "/chat-messages", "a turn of a chat"),
        ("POST", "/workflows/run", "a workflow of one node"),
        ("POST", "/completion-messages/{task_id}/stop", "the stop; the body names the `user`"),
        ("POST", "/chat-messages/{task_id}/stop", "the same"),
        ("POST", "/workflows/tasks/{task_id}/stop", "the same"),
        ("GET", "/conversations", "a user's conversations"),
        ("DELETE", "/conversations/{conversation_id}", "deletes one"),
        ("POST", "/conversations/{conversation_id}/name", "names one"),
        ("GET", "/messages", "a conversation's messages"),
        ("POST", "/messages/{message_id}/feedbacks", "rates one"),
        ("GET", "/info", "what the app is called"),
        ("GET", "/parameters", "what the app takes"),
        ("GET", "/meta", "its icons: none"),
        ("GET", "/site", "how its page looks"),
    ],
    "async_messages": [
        ("POST", "/messages/async", "starts a message; `message_id` chooses its id"),
        ("GET", "/messages/async/{message_id}/stream", "its events from the first one"),
        ("GET", "/messages/async/{message_id}/status", "`pending`, `processing`, `completed`, `cancelled` or `error`"),
        ("POST", "/messages/async/{message_id}/cancel", "the stop"),
        ("DELETE", "/messages/async/{message_id}/delete", "stops and deletes it"),
        ("DELETE", "/messages/async/{message_id}", "the same"),
    ],
    "aitronos": [
        ("POST", "/model/response", "a response, as JSON or as events"),
        ("POST", "/model/response/stream", "a response as events"),
        ("POST", "/model/response/{thread_id}/cancel", "the stop"),
        ("GET", "/model/response/output-modes", "the output modes"),
        ("GET", "/model/response/reasoning-levels", "the reasoning levels"),
        ("GET", "/models", "the models"),
        ("GET", "/threads", "own threads"),
        ("POST", "/threads", "makes a thread"),
        ("GET", "/threads/{thread_id}", "a thread"),
        ("PATCH", "/threads/{thread_id}", "changes it"),
        ("DELETE", "/threads/{thread_id}", "stops what runs in it, and deletes it"),
        ("GET", "/threads/{thread_id}/messages", "its messages"),
    ],
    "assistants": [
        ("GET", "/assistants", "own assistants"),
        ("POST", "/assistants", "makes one"),
        ("GET", "/assistants/{assistant_id}", "one of them"),
        ("POST", "/assistants/{assistant_id}", "changes it"),
        ("DELETE", "/assistants/{assistant_id}", "deletes it"),
        ("POST", "/threads", "makes a thread, with messages if there are any"),
        ("GET", "/threads/{thread_id}", "a thread"),
        ("POST", "/threads/{thread_id}", "changes its metadata"),
        ("DELETE", "/threads/{thread_id}", "stops what runs in it, and deletes it"),
        ("GET", "/threads/{thread_id}/messages", "its messages"),
        ("POST", "/threads/{thread_id}/messages", "puts one in"),
        ("GET", "/threads/{thread_id}/messages/{message_id}", "one of them"),
        ("POST", "/threads/{thread_id}/messages/{message_id}", "changes its metadata"),
        ("DELETE", "/threads/{thread_id}/messages/{message_id}", "deletes it"),
        ("POST", "/threads/runs", "makes a thread and runs it"),
        ("GET", "/threads/{thread_id}/runs", "its runs"),
        ("POST", "/threads/{thread_id}/runs", "runs it"),
        ("GET", "/threads/{thread_id}/runs/{run_id}", "one of them"),
        ("POST", "/threads/{thread_id}/runs/{run_id}", "changes its metadata"),
        ("POST", "/threads/{thread_id}/runs/{run_id}/cancel", "the stop"),
        ("POST", "/threads/{thread_id}/runs/{run_id}/submit_tool_outputs", "the results of its tools"),
        ("GET", "/threads/{thread_id}/runs/{run_id}/steps", "its steps"),
        ("GET", "/threads/{thread_id}/runs/{run_id}/steps/{step_id}", "one of them"),
    ],
}

OPEN: Final[Calls] = [
    ("GET", "/livez", "200 while the process runs; `/healthz` means the same"),
    ("GET", "/readyz", "200 while new work is taken; else 503, with the checks that fail"),
    ("GET", "/metrics", "the [metrics](metrics.md)"),
]
