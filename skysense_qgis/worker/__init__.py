"""The client side of the worker: messages, the process, and what to say when it dies."""
