package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	types "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"
)

const mcpPath = "/mcp"

// What upstreams may read as one of ours: Python's and PHP's gateways take _ for -.
var removed = spellings("x-agent-id", "x-agent-principal", "x-agent-issuer", "x-agent-scope",
	"x-agent-decision-id", "x-agent-chain")

func spellings(names ...string) []string {
	all := []string{"x-agent-chain", "authorization"}
	for _, name := range names {
		words := strings.Split(name, "-")
		for bits := 1; bits < 1<<(len(words)-1); bits++ {
			spelled := words[0]
			for at, word := range words[1:] {
				spelled += string("-_"[bits>>at&1]) + word
			}
			all = append(all, spelled)
		}
	}
	return all
}

// decider is the service.
type decider struct {
	auth.UnimplementedAuthorizationServer
	tokens *tokens
	rules  []rule
}

// Check decides one request.
func (d *decider) Check(_ context.Context, request *auth.CheckRequest) (*auth.CheckResponse, error) {
	attributes := request.GetAttributes()
	http := attributes.GetRequest().GetHttp()
	agent := attributes.GetSource().GetPrincipal()
	token, found := strings.CutPrefix(header(http, "authorization"), "Bearer ")
	if agent == "" || !found {
		return refused(types.StatusCode_Unauthorized, "no agent, or no token"), nil
	}
	whose, err := d.tokens.verify(token, agent)
	if err != nil {
		return refused(types.StatusCode_Unauthorized, "the token is invalid"), nil
	}
	what, err := wanted(http)
	if err != nil {
		return refused(types.StatusCode_BadRequest, "the body is not a call"), nil
	}
	for at := range d.rules {
		if d.rules[at].allows(whose, what) {
			return allowed(whose, d.rules[at].Name)
		}
	}
	return refused(types.StatusCode_Forbidden, "no rule allows this"), nil
}

func wanted(http *auth.AttributeContext_HttpRequest) (operation, error) {
	path, _, _ := strings.Cut(http.GetPath(), "?")
	if strings.Contains(path, "%") || strings.Contains(path, "/.") || strings.Contains(path, "//") {
		return operation{}, errors.New("an ambiguous path")
	}
	what := operation{method: http.GetMethod(), host: strings.ToLower(http.GetHost()), path: path}
	if path != mcpPath {
		return what, nil
	}
	var err error
	what.tool, err = toolOf(http.GetRawBody())
	return what, err
}

// header returns a header's value, in whichever of its two forms Envoy sends it.
func header(http *auth.AttributeContext_HttpRequest, name string) string {
	if value, found := http.GetHeaders()[name]; found {
		return value
	}
	for _, one := range http.GetHeaderMap().GetHeaders() {
		if one.GetKey() == name {
			return string(one.GetRawValue())
		}
	}
	return ""
}

func allowed(whose *delegation, rule string) (*auth.CheckResponse, error) {
	var random [16]byte
	rand.Read(random[:])
	id := hex.EncodeToString(random[:])
	metadata, err := structpb.NewStruct(map[string]any{
		"agent": whose.agent, "principal": whose.subject, "issuer": whose.issuer, "chain": "",
		"decision": "allow", "decision_id": id, "reason": "", "rule": rule, "shadow": "",
		"policy_version": "0123456789abcdef", "valid_until": float64(whose.expires.Unix()), "cache": "miss",
	})
	if err != nil {
		return nil, err
	}
	return &auth.CheckResponse{
		Status: &status.Status{Code: int32(codes.OK)},
		HttpResponse: &auth.CheckResponse_OkResponse{OkResponse: &auth.OkHttpResponse{
			Headers: []*core.HeaderValueOption{
				set("x-agent-id", whose.agent),
				set("x-agent-principal", whose.subject),
				set("x-agent-issuer", whose.issuer),
				set("x-agent-scope", strings.Join(whose.scopes, " ")),
				set("x-agent-decision-id", id),
			},
			HeadersToRemove: removed,
		}},
		DynamicMetadata: metadata,
	}, nil
}

func set(name, value string) *core.HeaderValueOption {
	return &core.HeaderValueOption{
		Header:       &core.HeaderValue{Key: name, Value: value},
		AppendAction: core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

func refused(code types.StatusCode, why string) *auth.CheckResponse {
	return &auth.CheckResponse{
		Status: &status.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &auth.CheckResponse_DeniedResponse{DeniedResponse: &auth.DeniedHttpResponse{
			Status: &types.HttpStatus{Code: code},
			Body:   why + "\n",
		}},
	}
}
