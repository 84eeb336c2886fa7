"""The exchange's SignalR hub and its REST boards: transports, protocol and addresses."""
