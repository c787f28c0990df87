//go:build tools

// Package tools names the command that go_tools.py builds, so that go.mod and go.sum pin it.
package tools

import _ "github.com/summerwind/h2spec/cmd/h2spec"
