"""HTTP, WebSocket and pages. Imports models and never worker: it wakes a sale by task name."""
