"""The plug for function tools: any typed Python function, sync or async, is one.

    from workers.tools import ToolContext, ToolFailed, tool

    @tool(timeout_s=10)
    async def find_order(number: int, context: ToolContext) -> dict[str, str]:
        '''Look up an order.

        Args:
            number: The number on the invoice.
        '''

`threadway.toml` names it as "mypackage.mymodule:find_order"; docs/tools.md has the rest.
"""

from gateway.domain.errors import ToolFailed
from workers.tools.contract import DEFAULT_TIMEOUT_S, Memory, Tool, ToolContext
from workers.tools.function import FunctionTool, tool
from workers.tools.loading import load_tools

__all__ = [
    "DEFAULT_TIMEOUT_S",
    "FunctionTool",
    "Memory",
    "Tool",
    "ToolContext",
    "ToolFailed",
    "load_tools",
    "tool",
]
