package main

import (
	"strings"

	"istio.io/istio/pkg/config/analysis/analyzers"
	"istio.io/istio/pkg/config/analysis/local"
	"istio.io/istio/pkg/test"
)

// analyzed returns what `istioctl analyze` says of the manifests.
func analyzed(t test.Failer, manifests string) []string {
	analyzer := local.NewSourceAnalyzer(analyzers.AllCombined(), "", "istio-system", nil)
	source := local.ReaderSource{Name: "manifests", Reader: strings.NewReader(manifests)}
	if err := analyzer.AddTestReaderKubeSource([]local.ReaderSource{source}); err != nil {
		t.Fatal(err)
	}
	result, err := analyzer.Analyze(make(chan struct{}))
	if err != nil {
		t.Fatal(err)
	}
	messages := []string{}
	for _, one := range result.Messages {
		messages = append(messages, one.String())
	}
	return messages
}
