package serve

import (
	"log"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"tempestd/internal/observe"
)

func TestI9_WhatNetHTTPLogsIsAnEvent(t *testing.T) {
	o := observe.Discard()
	l := log.New(netHTTP{o}, "", 0)
	l.Printf("http: Accept error: %v; retrying in %v", "accept tcp: too many open files", "5ms")
	l.Print("http: superfluous response.WriteHeader call")
	for event, want := range map[observe.Event]float64{observe.HTTPAcceptFailed: 1, observe.LibraryWarned: 1} {
		if n := testutil.ToFloat64(o.Metrics().Events.WithLabelValues(string(event), "")); n != want {
			t.Errorf("%v events %s, want %v", n, event, want)
		}
	}
}
