"""One frozen `Settings` from environment > NAME_FILE > .env > threadway.toml > default; docs/settings.md
lists them all.

`load()` reads and checks everything at once. Imports no SDK, no store, no worker: the command line starts
with it.
"""

from gateway.settings.loading import load
from gateway.settings.resolved import DEMO_MODEL, Settings
from gateway.settings.tables import (
    BUILT_IN_TOOLS,
    HOSTED_TOOLS,
    Access,
    AccessRules,
    AssistantConf,
    Conversations,
    Delivery,
    RouteConf,
    SlackTable,
)
from gateway.settings.variables import Backend

__all__ = [
    "BUILT_IN_TOOLS",
    "DEMO_MODEL",
    "HOSTED_TOOLS",
    "Access",
    "AccessRules",
    "AssistantConf",
    "Backend",
    "Conversations",
    "Delivery",
    "RouteConf",
    "Settings",
    "SlackTable",
    "load",
]
