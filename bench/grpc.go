package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// grpcRows are gRPC between two Go processes over a unix socket: what Go plug-ins commonly use. The message is the ready-made
// BytesValue, so that no generated code is needed.
func grpcRows() []row {
	return []row{
		{name: "peer/grpc-sync", about: "Go: gRPC unary echo of 64 B over a unix socket, one in flight", gives: latency, measure: grpcSync},
		{name: "peer/grpc-callers", about: "Go: the same with 256 callers on one connection", gives: rate, measure: grpcCallers},
	}
}

const echoMethod = "/bench.Echo/Echo"

var echoService = grpc.ServiceDesc{
	ServiceName: "bench.Echo",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		m := new(wrapperspb.BytesValue)
		return m, decode(m)
	}}},
}

// serveGRPC is the second process. Its argument is the path of the socket.
func serveGRPC(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("serve gRPC: want the path of a socket, got %q", args)
	}
	l, err := net.Listen("unix", args[0])
	if err != nil {
		return fmt.Errorf("serve gRPC: %w", err)
	}
	s := grpc.NewServer()
	s.RegisterService(&echoService, nil)
	go func() {
		untilStdinEnds()
		s.Stop()
	}()
	fmt.Println("unix:" + args[0])
	return s.Serve(l)
}

func grpcSync(ctx context.Context, b *bench) (figures, error) {
	return withGRPC(ctx, b, func(call func() error) (figures, error) { return oneByOne(ctx, b.duration(), call) })
}

func grpcCallers(ctx context.Context, b *bench) (figures, error) {
	return withGRPC(ctx, b, func(call func() error) (figures, error) {
		return manyCallers(ctx, b.inFlight, b.duration(), func() func() error { return call })
	})
}

// withGRPC measures with a fresh server and one connected client.
func withGRPC(ctx context.Context, b *bench, measure func(call func() error) (figures, error)) (figures, error) {
	dir, err := os.MkdirTemp(b.dir, "grpc-")
	if err != nil {
		return nil, fmt.Errorf("measure gRPC: %w", err)
	}
	defer os.RemoveAll(dir)
	s, err := startServer(ctx, "serve-grpc", filepath.Join(dir, "s"))
	if err != nil {
		return nil, err
	}
	defer s.stop()
	client, err := grpc.NewClient(s.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("measure gRPC: connect to %s: %w", s.address, err)
	}
	defer client.Close()
	m := wrapperspb.Bytes(make([]byte, 64))
	return measure(func() error {
		return client.Invoke(ctx, echoMethod, m, new(wrapperspb.BytesValue))
	})
}
