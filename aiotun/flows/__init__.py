"""TCP connections and UDP conversations that come out of a TUN, as asyncio has them."""

from .base import Accept, Decision, Drop, Flow, FlowAddress, FlowCounters, FlowLimits
from .rootless import Rootless, open_rootless
from .server import FlowServer
from .starting import create_flow_server, start_flow_server
from .tcp import FlowTransport, Listener
from .udp import ConversationTransport, DatagramStream

__all__ = [
    "Accept",
    "ConversationTransport",
    "DatagramStream",
    "Decision",
    "Drop",
    "Flow",
    "FlowAddress",
    "FlowCounters",
    "FlowLimits",
    "FlowServer",
    "FlowTransport",
    "Listener",
    "Rootless",
    "create_flow_server",
    "open_rootless",
    "start_flow_server",
]
