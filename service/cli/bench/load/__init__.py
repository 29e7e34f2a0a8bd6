"""The load generator: connections, loops and counts, directly on asyncio's transports to cost little CPU time."""
