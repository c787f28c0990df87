// Package serving has what both servers need: a unix socket, and health for Envoy.
package serving

import (
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// Serve answers on a unix socket until the process ends.
func Serve(path string, options ...grpc.ServerOption) error {
	return With(path, func(*grpc.Server) {}, options...)
}

// With is Serve with services of the caller's.
func With(path string, register func(*grpc.Server), options ...grpc.ServerOption) error {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	server := grpc.NewServer(options...)
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	register(server)
	return server.Serve(listener)
}
