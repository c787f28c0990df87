// Command echo answers every check with the bytes of a file: what grpc-go costs, and nothing else.
//
//	echo SOCKET FILE
//
// It neither reads its messages nor makes an answer: both stay bytes, which no generated handler could.
package main

import (
	"log"
	"os"

	"agent-authz/bench/peers/serving"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// raw is a codec that leaves messages as they came.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(value any) (mem.BufferSlice, error) {
	if bytes, ok := value.([]byte); ok {
		return mem.BufferSlice{mem.SliceBuffer(bytes)}, nil
	}
	return encoding.GetCodecV2("proto").Marshal(value)
}

func (raw) Unmarshal(data mem.BufferSlice, value any) error {
	if _, ok := value.(*[]byte); ok {
		return nil
	}
	return encoding.GetCodecV2("proto").Unmarshal(data, value)
}

func main() {
	answer, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	check := func(_ any, stream grpc.ServerStream) error {
		var ignored []byte
		if err := stream.RecvMsg(&ignored); err != nil {
			return err
		}
		return stream.SendMsg(answer)
	}
	// Anything that is registered stays itself: health is, a check is not.
	log.Fatal(serving.Serve(os.Args[1], grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(check)))
}
