package api_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"tempestd/internal/serve/api"
)

// Long queries are read one after the other; short ones, and those of a client that has left, do not
// wait.
func TestI8_LongQueriesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := make(api.Turns, 1)
		request := func(ctx context.Context, query string) *http.Request {
			return httptest.NewRequest("GET", "/?dids="+query, nil).WithContext(turns.On(ctx))
		}
		long := strings.Repeat("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa,", 10_000)
		leave, err := api.TakeTurn(request(t.Context(), long))
		if err != nil {
			t.Fatal(err)
		}
		if p := api.ParseParams(request(t.Context(), "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"), "dids"); p.Err != nil || p.Matcher() == nil {
			t.Errorf("a short one: %v", p.Err)
		}
		gone, leaves := context.WithCancel(t.Context())
		told := make(chan error)
		go func() { told <- api.ParseParams(request(gone, long), "dids").Err }()
		synctest.Wait()
		leaves()
		if err := <-told; !errors.Is(err, context.Canceled) {
			t.Errorf("a client that has left: %v", err)
		}
		done := false
		go func() {
			done = api.ParseParams(request(t.Context(), long[:len(long)-1]), "dids").Matcher() != nil
			told <- nil
		}()
		synctest.Wait()
		if done {
			t.Error("two are read at a time")
		}
		leave()
		if <-told; !done {
			t.Error("the second is not read")
		}
	})
}
