// Command decider decides checks as a server written by hand does: who calls, on whose behalf, may they.
//
//	decider [-cache] -socket PATH -jwks URL -issuer URL -audience URL -rules FILE
//
// It verifies the delegation token (RFC 9068: typ, iss, aud, exp, nbf, iat; RFC 8693: the current actor is
// the caller) with go-jose, holds the request against a handful of rules one after the other, reads the
// JSON-RPC body of an MCP call for the tool's name, and answers with the headers, the removals and the
// metadata that agent-authz answers with. With -cache verified tokens are remembered in a map.
//
// What agent-authz does beside, and this does not: read the caller's certificate and require that it is
// valid and is that of the principal; take tokens bound to a key (RFC 8705, RFC 9449) or by their exact
// header; refuse duplicate members of JSON and tokens over limits; revocations; normal forms of paths and
// of hosts, and refusing those that are ambiguous; routes; principals with grants of their own; batches and
// mirrored headers of MCP; reasons, challenges and step-up; remember decisions; audit records; metrics;
// deadlines and shedding; a change of its config while it runs. Keys are fetched once a minute, and an
// unknown one is refused.
package main

import (
	"flag"
	"log"

	"agent-authz/bench/peers/serving"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
)

func main() {
	socket := flag.String("socket", "", "path of the unix socket")
	jwks := flag.String("jwks", "", "URL of the issuer's keys")
	issuer := flag.String("issuer", "", "whose tokens to take")
	audience := flag.String("audience", "", "for whom tokens must be")
	rules := flag.String("rules", "", "file of rules, JSON")
	cache := flag.Bool("cache", false, "remember verified tokens")
	flag.Parse()
	policy, err := readRules(*rules)
	if err != nil {
		log.Fatal(err)
	}
	keys, err := fetchKeys(*jwks)
	if err != nil {
		log.Fatal(err)
	}
	tokens := &tokens{keys: keys, issuer: *issuer, audience: *audience}
	if *cache {
		tokens.known = map[string]*delegation{}
	}
	register := func(server *grpc.Server) {
		auth.RegisterAuthorizationServer(server, &decider{tokens: tokens, rules: policy})
	}
	log.Fatal(serving.With(*socket, register))
}
