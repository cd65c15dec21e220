package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"tempestd/messages"
)

// maxGaps is the most gaps of one answer.
const maxGaps = 1000

// GapQuery says which gaps to list. Empty fields mean all.
type GapQuery struct {
	Feed   string
	States []messages.GapState
	ID     string // the beginning of the ID
}

// Gaps returns the gaps of all feeds, at most 1000 of them. The error matches messages.ErrNoFeed
// when no feed has the name that the query gives.
func (c *Client) Gaps(ctx context.Context, q GapQuery) (messages.GapList, error) {
	query := url.Values{"limit": {strconv.Itoa(maxGaps)}}
	if q.Feed != "" {
		query.Set("feed", q.Feed)
	}
	if q.ID != "" {
		query.Set("id", q.ID)
	}
	if len(q.States) > 0 {
		names := make([]string, len(q.States))
		for i, state := range q.States {
			names[i] = string(state)
		}
		query.Set("state", strings.Join(names, ","))
	}
	var list messages.GapList
	err := c.get(ctx, &list, query, "v1", "gaps")
	return list, err
}

// RepairGap makes the feed fetch a gap now.
func (c *Client) RepairGap(ctx context.Context, feed, id string) error {
	return c.aboutGap(ctx, nil, nil, http.StatusAccepted, feed, id, "repair")
}

// PriceGap asks the feed what fetching a gap would cost.
func (c *Client) PriceGap(ctx context.Context, feed, id string) (messages.GapPrice, error) {
	var price messages.GapPrice
	err := c.aboutGap(ctx, &price, url.Values{"dry_run": {"true"}}, http.StatusOK, feed, id, "repair")
	return price, err
}

// DismissGap makes the feed give a gap up. why may be "".
func (c *Client) DismissGap(ctx context.Context, feed, id, why string) error {
	query := url.Values{}
	if why != "" {
		query.Set("why", why)
	}
	return c.aboutGap(ctx, nil, query, http.StatusAccepted, feed, id, "dismiss")
}

func (c *Client) aboutGap(ctx context.Context, into any, query url.Values, want int, feed, id, verb string) error {
	status, body, err := c.do(ctx, http.MethodPost, query, 0, "v1", "feeds", feed, "gaps", id, verb)
	if err == nil && status != want {
		err = apiError(status, body)
	}
	if err != nil || into == nil {
		return err
	}
	return c.decode(body, into)
}
