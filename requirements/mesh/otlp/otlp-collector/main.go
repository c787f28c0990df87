// Command otlp-collector runs the OTLP receiver of the OpenTelemetry Collector, and writes each
// request that it takes as a line of JSON to standard output, as the Collector's file exporter does.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"gopkg.in/yaml.v3"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(path string) error {
	config, err := read(path)
	if err != nil {
		return err
	}
	var lock sync.Mutex
	marshaler := &plog.JSONMarshaler{}
	logs, err := consumer.NewLogs(func(_ context.Context, taken plog.Logs) error {
		line, err := marshaler.MarshalLogs(taken)
		if err != nil {
			return err
		}
		lock.Lock()
		defer lock.Unlock()
		_, err = os.Stdout.Write(append(line, '\n'))
		return err
	})
	if err != nil {
		return err
	}
	factory := otlpreceiver.NewFactory()
	settings := receiver.Settings{
		ID:                component.NewID(factory.Type()),
		TelemetrySettings: componenttest.NewNopTelemetrySettings(),
		BuildInfo:         component.NewDefaultBuildInfo(),
	}
	server, err := factory.CreateLogs(context.Background(), settings, config, logs)
	if err != nil {
		return err
	}
	if err := server.Start(context.Background(), componenttest.NewNopHost()); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	<-stop
	return server.Shutdown(context.Background())
}

// read returns the section of the receiver in a config of the Collector.
func read(path string) (component.Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var whole struct {
		Receivers map[string]map[string]any `yaml:"receivers"`
	}
	if err := yaml.Unmarshal(text, &whole); err != nil {
		return nil, err
	}
	config := otlpreceiver.NewFactory().CreateDefaultConfig()
	return config, confmap.NewFromStringMap(whole.Receivers["otlp"]).Unmarshal(config)
}
