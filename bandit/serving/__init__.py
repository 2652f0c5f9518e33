"""The gRPC server: thin edges around the core.

`supervisor` starts and watches the processes; `app` composes one serving process; `servicers` take bytes in
and out; `convert` checks messages; `service` chooses and rewards; everything durable goes through the log.
"""
