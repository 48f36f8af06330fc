"""The calls of Dify's app API that are served, as the description of the HTTP API lists them."""

from typing import Final

from proxy.engine.operation import Operation

OPERATIONS: Final = (
    Operation("POST", "/completion-messages", "Make a completion, as a stream of events or as one answer.", "starts"),
    Operation("POST", "/chat-messages", "Go on with a conversation, or begin one.", "starts"),
    Operation("POST", "/workflows/run", "Run the workflow, which is one model call.", "starts"),
    Operation("POST", "/completion-messages/{task_id}/stop", "Stop a completion of this end user's.", "stops"),
    Operation("POST", "/chat-messages/{task_id}/stop", "Stop a chat message of this end user's.", "stops"),
    Operation("POST", "/workflows/tasks/{task_id}/stop", "Stop a workflow run of this end user's.", "stops"),
    Operation("GET", "/conversations", "The conversations of an end user."),
    Operation("DELETE", "/conversations/{conversation_id}", "Delete a conversation; the numbers of its records stay."),
    Operation("POST", "/conversations/{conversation_id}/name", "Rename a conversation."),
    Operation("GET", "/messages", "The messages of a conversation."),
    Operation("POST", "/messages/{message_id}/feedbacks", "Rate a message."),
    Operation("GET", "/info", "The app's name and mode."),
    Operation("GET", "/parameters", "The app's variables and features."),
    Operation("GET", "/meta", "The icons of the app's tools; it has none."),
    Operation("GET", "/site", "How the app wants to be shown."),
)
