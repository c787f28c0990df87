// Command pilot-generate writes what Istio's own control plane sends to proxies, without a cluster.
//
//	pilot-generate IN OUT
//
// IN is a JSON file: the mesh's config and the manifests as YAML, the proxies by name, and a Deployment
// for the injector. OUT gets the listeners, clusters and routes of each proxy, the injected Deployment and
// what the analyzer says, as JSON. Pilot's flags are environment variables, as in istiod.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"istio.io/istio/pilot/pkg/features"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/test"

	// A type that pilot puts into what it sends, and that JSON is not written without.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
)

// Input is what istiod would read from its cluster, and who would connect to it.
type Input struct {
	Mesh       string            `json:"mesh"`
	Manifests  string            `json:"manifests"`
	Proxies    map[string]Tenant `json:"proxies"`
	Deployment string            `json:"deployment"`
}

// Tenant is a proxy, as its bootstrap describes it to istiod.
type Tenant struct {
	Kind        model.NodeType    `json:"kind"` // sidecar, router or waypoint
	Namespace   string            `json:"namespace"`
	Address     string            `json:"address"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	Version     string            `json:"version"`
}

// Output is what Istio would answer.
type Output struct {
	Proxies  map[string]Resources `json:"proxies"`
	Injected json.RawMessage      `json:"injected"`
	Analyzed []string             `json:"analyzed"`
}

// Resources are a proxy's configuration, by their kind.
type Resources map[string][]json.RawMessage

func main() {
	if len(os.Args) != 3 {
		stop(fmt.Errorf("usage: pilot-generate IN OUT"))
	}
	data, err := os.ReadFile(os.Args[1])
	stop(err)
	var input Input
	stop(json.Unmarshal(data, &input))
	var output Output
	stop(test.Wrap(func(t test.Failer) { output = generate(t, input) }))
	written, err := json.MarshalIndent(output, "", " ")
	stop(err)
	stop(os.WriteFile(os.Args[2], written, 0o600))
}

func stop(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "pilot-generate:", err)
		os.Exit(1)
	}
}

// generate lets pilot read the input and returns what it sends to each proxy.
func generate(t test.Failer, input Input) Output {
	test.SetForTest(t, &features.EnableDualStack, false)
	meshConfig, err := mesh.ApplyMeshConfigDefaults(input.Mesh)
	if err != nil {
		t.Fatal(err)
	}
	server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
		ConfigString:           input.Manifests,
		KubernetesObjectString: input.Manifests,
		MeshConfig:             meshConfig,
	})
	output := Output{Proxies: map[string]Resources{}}
	for name, tenant := range input.Proxies {
		output.Proxies[name] = sent(t, server, server.SetupProxy(tenant.proxy()))
	}
	output.Injected = injected(t, meshConfig, input.Deployment)
	output.Analyzed = analyzed(t, input.Manifests)
	return output
}

func (one Tenant) proxy() *model.Proxy {
	return &model.Proxy{
		Type:            one.Kind,
		ConfigNamespace: one.Namespace,
		Labels:          one.Labels,
		IPAddresses:     []string{one.Address},
		Metadata: &model.NodeMetadata{
			IstioVersion: one.Version,
			Namespace:    one.Namespace,
			Labels:       one.Labels,
			Annotations:  one.Annotations,
		},
	}
}

// sent returns the resources that a proxy gets.
func sent(t test.Failer, server *xds.FakeDiscoveryServer, proxy *model.Proxy) Resources {
	output := Resources{}
	add := func(kind string, resource proto.Message) {
		data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(resource)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		output[kind] = append(output[kind], data)
	}
	listeners := server.Listeners(proxy)
	for _, one := range listeners {
		add("listeners", one)
	}
	for _, one := range server.Clusters(proxy) {
		add("clusters", one)
	}
	for _, one := range server.RoutesFromListeners(proxy, listeners) {
		add("routes", one)
	}
	return output
}
