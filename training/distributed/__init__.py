"""Distributed training: data-parallel processes (DDP), a sharded base model (FSDP2), sharded optimizer (ZeRO)."""
