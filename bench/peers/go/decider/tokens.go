package main

import (
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	refresh   = time.Minute
	leeway    = 30 * time.Second
	maxTokens = 20_000 // as many as agent-authz remembers by default
)

var algorithms = []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.PS256, jose.EdDSA}

// delegation is what a verified token says.
type delegation struct {
	issuer, subject, agent string
	scopes                 []string
	expires                time.Time
}

// keys are an issuer's, fetched once a minute.
type keys struct {
	current atomic.Pointer[jose.JSONWebKeySet]
}

func fetchKeys(url string) (*keys, error) {
	found := &keys{}
	if err := found.fetch(url); err != nil {
		return nil, err
	}
	go func() {
		for range time.Tick(refresh) {
			if err := found.fetch(url); err != nil {
				log.Print(err) // the last ones stay
			}
		}
	}()
	return found, nil
}

func (k *keys) fetch(url string) error {
	response, err := http.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var set jose.JSONWebKeySet
	if err := json.NewDecoder(response.Body).Decode(&set); err != nil {
		return err
	}
	k.current.Store(&set)
	return nil
}

func (k *keys) named(id string) (*jose.JSONWebKey, error) {
	if found := k.current.Load().Key(id); len(found) == 1 {
		return &found[0], nil
	}
	return nil, errors.New("no such key")
}

// tokens verifies tokens, and remembers them where known is a map.
type tokens struct {
	keys             *keys
	issuer, audience string
	lock             sync.RWMutex
	known            map[string]*delegation
}

func (t *tokens) verify(token, agent string) (*delegation, error) {
	found := t.remembered(token)
	if found == nil {
		var err error
		if found, err = t.read(token); err != nil {
			return nil, err
		}
		t.remember(token, found)
	}
	if found.agent != agent {
		return nil, errors.New("the token is another agent's")
	}
	return found, nil
}

func (t *tokens) remembered(token string) *delegation {
	if t.known == nil {
		return nil
	}
	t.lock.RLock()
	defer t.lock.RUnlock()
	if found := t.known[token]; found != nil && time.Now().Before(found.expires.Add(leeway)) {
		return found
	}
	return nil
}

func (t *tokens) remember(token string, found *delegation) {
	if t.known == nil {
		return
	}
	t.lock.Lock()
	defer t.lock.Unlock()
	if len(t.known) >= maxTokens {
		clear(t.known)
	}
	t.known[token] = found
}

func (t *tokens) read(token string) (*delegation, error) {
	parsed, err := jwt.ParseSigned(token, algorithms)
	if err != nil {
		return nil, err
	}
	header := parsed.Headers[0]
	if kind, _ := header.ExtraHeaders[jose.HeaderType].(string); !strings.EqualFold(kind, "at+jwt") {
		return nil, errors.New("not an access token")
	}
	key, err := t.keys.named(header.KeyID)
	if err != nil {
		return nil, err
	}
	if key.Algorithm != "" && key.Algorithm != header.Algorithm {
		return nil, errors.New("the key is for another algorithm")
	}
	var claims jwt.Claims
	var further struct {
		Scope string `json:"scope"`
		Actor struct {
			Subject string `json:"sub"`
		} `json:"act"`
	}
	if err := parsed.Claims(key, &claims, &further); err != nil {
		return nil, err
	}
	expected := jwt.Expected{Issuer: t.issuer, AnyAudience: jwt.Audience{t.audience}, Time: time.Now()}
	if err := claims.ValidateWithLeeway(expected, leeway); err != nil {
		return nil, err
	}
	if claims.Expiry == nil || claims.Subject == "" || further.Actor.Subject == "" {
		return nil, errors.New("a claim is missing")
	}
	return &delegation{
		issuer:  claims.Issuer,
		subject: claims.Subject,
		agent:   further.Actor.Subject,
		scopes:  slices.Sorted(slices.Values(strings.Fields(further.Scope))),
		expires: claims.Expiry.Time(),
	}, nil
}
