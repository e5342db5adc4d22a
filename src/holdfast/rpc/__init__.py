"""The gRPC door of the Open Inference Protocol v2: translates calls for the data plane, which HTTP uses as well.

`messages` are the protocol's own, `codec` turns tensors into columns and answers into tensors, `statuses` says errors as gRPC
does, `service` answers calls, and `port` is the server's life. Only a worker with `[serve] grpc_port` set imports this package:
it needs the extra `grpc`.
"""
