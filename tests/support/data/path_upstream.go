// A Go upstream that says which segments its router found: net/http with its ServeMux.
//
// Run with the name of a file, into which it writes its port.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
)

const maxSegments = 12

func found(count int, end string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		segments := []string{}
		for number := range count {
			segments = append(segments, r.PathValue(fmt.Sprintf("s%d", number)))
		}
		if end != "" {
			segments = append(segments, "")
		}
		w.Header().Set("content-type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"raw": r.RequestURI, "segments": segments})
	}
}

func main() {
	mux := http.NewServeMux()
	path := ""
	for count := range maxSegments + 1 {
		if count > 0 {
			path += fmt.Sprintf("/{s%d}", count-1)
			mux.Handle(path, found(count, ""))
		}
		mux.Handle(strings.TrimSuffix(path, "/")+"/{$}", found(count, "/"))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	port := fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
	if err := os.WriteFile(os.Args[1], []byte(port), 0o600); err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(listener, mux))
}
