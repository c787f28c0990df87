package main

import (
	"context"
	"errors"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

var keysURL = "https://authz.corp.example/jwks.json"

// verifier returns a function that returns the claims of an assertion for us, or an error.
func verifier(ctx context.Context) (func(assertion string) (jwt.MapClaims, error), error) {
	keys, err := keyfunc.NewDefaultCtx(ctx, []string{keysURL})
	if err != nil {
		return nil, err
	}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{"ES256", "EdDSA"}),
		jwt.WithIssuer("https://authz.corp.example"),
		jwt.WithAudience("https://mcp.corp.example/finance"),
		jwt.WithExpirationRequired(),
	)
	return func(assertion string) (jwt.MapClaims, error) {
		claims := jwt.MapClaims{}
		token, err := parser.ParseWithClaims(assertion, claims, keys.Keyfunc)
		if err == nil && token.Header["typ"] != "authz-assertion+jwt" {
			err = errors.New("not an assertion")
		}
		return claims, err
	}, nil
}
