# Register a machine with a label.
grpcurl $TLS -d '{"machine": {"id": "52-54-00-a1-9c-ae", "name": "node1", "labels": {"role": "worker"}}}' $SERVER matchd.v1.Machines/PutMachine
