// Command grpc_go makes calls with grpc-go as it is told on standard input, and writes what came.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type order struct {
	Target        string
	CA, Cert, Key string // files; no TLS without CA
	Threads       int
	Calls         []call
}

type call struct {
	Path      string
	Message   []byte
	Metadata  map[string]string
	TimeoutMs int
	CancelMs  int // cancel the call after so long, if it is not 0
	Gzip      bool
}

type answer struct {
	Code    int
	Message []byte
}

// raw is a codec that leaves messages as they came.
type raw struct{}

func (raw) Name() string                      { return "proto" }
func (raw) Marshal(value any) ([]byte, error) { return *value.(*[]byte), nil }
func (raw) Unmarshal(data []byte, value any) error {
	*value.(*[]byte) = append([]byte{}, data...)
	return nil
}

func main() {
	encoding.RegisterCodec(raw{})
	var told order
	if err := json.NewDecoder(os.Stdin).Decode(&told); err != nil {
		log.Fatal(err)
	}
	connection, err := grpc.NewClient(told.Target, grpc.WithTransportCredentials(trust(told)))
	if err != nil {
		log.Fatal(err)
	}
	answers := make([]answer, len(told.Calls))
	numbers := make(chan int)
	var threads sync.WaitGroup
	for range max(told.Threads, 1) {
		threads.Add(1)
		go func() {
			defer threads.Done()
			for number := range numbers {
				answers[number] = told.Calls[number].ask(connection)
			}
		}()
	}
	for number := range told.Calls {
		numbers <- number
	}
	close(numbers)
	threads.Wait()
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		log.Fatal(err)
	}
}

func (one call) ask(connection *grpc.ClientConn) answer {
	timeout := time.Duration(one.TimeoutMs) * time.Millisecond
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if one.CancelMs > 0 {
		time.AfterFunc(time.Duration(one.CancelMs)*time.Millisecond, cancel)
	}
	ctx = metadata.NewOutgoingContext(ctx, metadata.New(one.Metadata))
	var options []grpc.CallOption
	if one.Gzip {
		options = append(options, grpc.UseCompressor("gzip"))
	}
	var reply []byte
	err := connection.Invoke(ctx, one.Path, &one.Message, &reply, options...)
	return answer{int(status.Code(err)), reply}
}

func trust(told order) credentials.TransportCredentials {
	if told.CA == "" {
		return insecure.NewCredentials()
	}
	text, err := os.ReadFile(told.CA)
	if err != nil {
		log.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(told.Cert, told.Key)
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return credentials.NewTLS(&tls.Config{
		RootCAs: roots, Certificates: []tls.Certificate{pair}, ServerName: "localhost",
	})
}
