package rpc

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	encodingproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// strict registers services whose requests are blamed on the client where they cannot be decoded: grpc calls a text that is not UTF-8, or bytes that are no
// message, an internal error of the server, and has told so before anybody can say otherwise. So the codec keeps such an error with the request, and strict
// finds it there.
type strict struct{ grpc.ServiceRegistrar }

// request is a message that is decoded, and why it could not be.
type request struct {
	message any
	err     error
}

// strictCodec is protobuf's codec, for the server alone.
type strictCodec struct{ encoding.CodecV2 }

func newStrictCodec() encoding.CodecV2 {
	return strictCodec{encoding.GetCodecV2(encodingproto.Name)}
}

// Unmarshal implements encoding.CodecV2.
func (c strictCodec) Unmarshal(data mem.BufferSlice, message any) error {
	r, is := message.(*request)
	if !is {
		return c.CodecV2.Unmarshal(data, message)
	}
	r.err = c.CodecV2.Unmarshal(data, r.message)
	return nil
}

// decode reads a message by what grpc gives to read one.
func decode(read func(any) error, message any) error {
	r := &request{message: message}
	if err := read(r); err != nil {
		return err
	}
	if r.err != nil {
		return newStatus(codes.InvalidArgument, ReasonInvalid, "the request cannot be decoded: it is no message of the method's type, or a text in it is not UTF-8").Err()
	}
	return nil
}

// RegisterService implements grpc.ServiceRegistrar.
func (s strict) RegisterService(desc *grpc.ServiceDesc, service any) {
	changed := *desc
	changed.Methods = make([]grpc.MethodDesc, len(desc.Methods))
	for i, method := range desc.Methods {
		handle := method.Handler
		method.Handler = func(service any, ctx context.Context, read func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
			return handle(service, ctx, func(message any) error { return decode(read, message) }, intercept)
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
func (s strictStream) RecvMsg(message any) error { return decode(s.ServerStream.RecvMsg, message) }
