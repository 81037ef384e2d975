"""The embedded Assistants service: the API that OpenAI shut down, on any Chat Completions model, records in SQL."""
