package main

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
)

// rule allows agents and subjects calls; an empty list of hosts, scopes or tools demands nothing.
type rule struct {
	Name     string   `json:"name"`
	Agents   []string `json:"agents"`
	Subjects []string `json:"subjects"`
	Hosts    []string `json:"hosts"`
	Methods  []string `json:"methods"`
	Path     string   `json:"path"` // with * or ** for a last segment or more
	Scopes   []string `json:"scopes"`
	Tools    []string `json:"tools"`
}

// operation is what somebody wants to do.
type operation struct{ method, host, path, tool string }

func readRules(path string) ([]rule, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var rules []rule
	return rules, json.Unmarshal(text, &rules)
}

func (r *rule) allows(whose *delegation, what operation) bool {
	return slices.Contains(r.Methods, what.method) &&
		fits(r.Path, what.path) &&
		(len(r.Hosts) == 0 || slices.Contains(r.Hosts, what.host)) &&
		slices.Contains(r.Agents, whose.agent) &&
		slices.Contains(r.Subjects, whose.subject) &&
		(len(r.Tools) == 0 || slices.ContainsFunc(r.Tools, func(tool string) bool {
			return matches(tool, what.tool)
		})) &&
		!slices.ContainsFunc(r.Scopes, func(scope string) bool {
			return !slices.Contains(whose.scopes, scope)
		})
}

func fits(pattern, path string) bool {
	if prefix, isTree := strings.CutSuffix(pattern, "**"); isTree {
		return strings.HasPrefix(path, prefix)
	}
	if prefix, isOne := strings.CutSuffix(pattern, "*"); isOne {
		rest, found := strings.CutPrefix(path, prefix)
		return found && !strings.Contains(rest, "/")
	}
	return path == pattern
}

func matches(pattern, name string) bool {
	if prefix, isPattern := strings.CutSuffix(pattern, "*"); isPattern {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

// toolOf returns the tool that an MCP request calls.
func toolOf(body []byte) (string, error) {
	var call struct {
		Version string `json:"jsonrpc"`
		Method  string `json:"method"`
		Params  struct {
			Name string `json:"name"`
		} `json:"params"`
	}
	if err := json.Unmarshal(body, &call); err != nil {
		return "", err
	}
	if call.Version != "2.0" || call.Method != "tools/call" || call.Params.Name == "" {
		return "", errors.New("not a tool call")
	}
	return call.Params.Name, nil
}
