package rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// strict registers services whose requests are blamed on the client where they cannot be decoded: grpc calls a text that is not UTF-8, or bytes that are no
// message, an internal error of the server.
type strict struct{ grpc.ServiceRegistrar }

// RegisterService implements grpc.ServiceRegistrar.
func (s strict) RegisterService(desc *grpc.ServiceDesc, service any) {
	changed := *desc
	changed.Methods = make([]grpc.MethodDesc, len(desc.Methods))
	for i, method := range desc.Methods {
		handle := method.Handler
		method.Handler = func(service any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
			return handle(service, ctx, func(message any) error { return blame(decode(message)) }, intercept)
		}
		changed.Methods[i] = method
	}
	changed.Streams = make([]grpc.StreamDesc, len(desc.Streams))
	for i, stream := range desc.Streams {
		handle := stream.Handler
		stream.Handler = func(service any, stream grpc.ServerStream) error {
			return handle(service, strictStream{stream})
		}
		changed.Streams[i] = stream
	}
	s.ServiceRegistrar.RegisterService(&changed, service)
}

type strictStream struct{ grpc.ServerStream }

// RecvMsg implements grpc.ServerStream.
func (s strictStream) RecvMsg(message any) error { return blame(s.ServerStream.RecvMsg(message)) }

func blame(err error) error {
	if status.Code(err) != codes.Internal {
		return err
	}
	return newStatus(codes.InvalidArgument, ReasonInvalid, "the request cannot be decoded: it is no message of the method's type, or a text in it is not UTF-8").Err()
}
