package main

import (
	"bytes"
	"encoding/json"
	"strings"

	meshconfig "istio.io/api/mesh/v1alpha1"
	"istio.io/istio/manifests"
	"istio.io/istio/pkg/kube/inject"
	"istio.io/istio/pkg/test"
	"sigs.k8s.io/yaml"
)

const (
	chart    = "charts/istio-control/istio-discovery/"
	template = "grpc-agent"
	// Under this key Istio's chart has its defaults.
	defaults = "_internal_defaults_do_not_set"
)

// injected returns a Deployment as Istio's injector changes it, with the values that its chart has by default.
func injected(t test.Failer, meshConfig *meshconfig.MeshConfig, deployment string) json.RawMessage {
	text := must(t)(manifests.FS.ReadFile(chart + "files/" + template + ".yaml"))
	values, err := inject.NewValuesConfig(chartDefaults(t))
	if err != nil {
		t.Fatal(err)
	}
	templates, err := inject.ParseTemplates(inject.RawTemplates{template: string(text)})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	warn := func(text string) { t.Fatal(text) }
	in := strings.NewReader(deployment)
	if err := inject.IntoResourceFile(nil, templates, values, "default", meshConfig, in, &out, warn); err != nil {
		t.Fatal(err)
	}
	return must(t)(yaml.YAMLToJSON([]byte(strings.TrimSuffix(out.String(), "---\n"))))
}

func chartDefaults(t test.Failer) string {
	var values map[string]any
	if err := yaml.Unmarshal(must(t)(manifests.FS.ReadFile(chart+"values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	return string(must(t)(yaml.Marshal(values[defaults])))
}

// must returns what takes bytes of a call that may not fail.
func must(t test.Failer) func([]byte, error) []byte {
	return func(data []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
}
