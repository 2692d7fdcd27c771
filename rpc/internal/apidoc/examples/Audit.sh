# Ask who wrote a group.
grpcurl $TLS -d '{"object": {"kind": "KIND_GROUP", "id": "workers"}}' $SERVER matchd.v1.Audit/ListAuditRecords
