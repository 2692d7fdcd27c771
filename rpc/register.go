package rpc

import "google.golang.org/grpc"

// register offers every service that the options have the parts for, a line for each.
func register(s grpc.ServiceRegistrar, o *Options) {
	registerAudit(s, o)
	registerStatus(s, o)
	registerReads(s, o)
	registerObjects(s, o)
	registerMatchbox(s, o)
}
