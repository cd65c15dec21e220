package persistence_test

import (
	"context"
	"testing"
	"time"

	"tempestd/persistence"
	"tempestd/persistence/streamtest"
)

func TestEmbedded(t *testing.T) {
	for name, opt := range map[string]persistence.EmbeddedOptions{
		"sync":     {},
		"interval": {SyncInterval: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			opt.OnEvent = func(e persistence.Event) {
				if failed, ok := e.(persistence.MaintenanceFailed); ok {
					t.Errorf("maintenance failed: %+v", failed)
				}
			}
			streamtest.Run(t, streamtest.Backend{
				Open: func(ctx context.Context, dir string) (persistence.Store, error) {
					return persistence.OpenEmbedded(ctx, dir, opt)
				},
				Maintain: func(ctx context.Context, store persistence.Store) {
					e := store.(*persistence.Embedded)
					persistence.SyncLog(ctx, e)
					persistence.Maintain(ctx, e)
				},
			})
		})
	}
}
