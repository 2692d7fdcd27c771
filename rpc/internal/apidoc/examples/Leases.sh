# List the addresses in use.
grpcurl $TLS $SERVER matchd.v1.Leases/ListLeases
