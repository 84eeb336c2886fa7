"""The exchange's own hub and its REST boards: transports, protocol and addresses."""
