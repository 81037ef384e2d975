"""A small, strict Slack: channels and threads, the Web API methods bots here use, events by HTTP or Socket Mode."""
