from ime_live.gateway.stream.fanout import Batch, Owner, Shortfall

INTERFACE: int

def send(batches: list[Batch[Owner]], /) -> tuple[Shortfall[Owner], ...]: ...
