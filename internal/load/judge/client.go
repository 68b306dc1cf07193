package judge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// timeout bounds each call to the judge, also after an interruption.
const timeout = 5 * time.Second

// maxBooks bounds what the judge may answer.
const maxBooks = 4 << 20

// Client asks one simulator. Nil stands for none, whose books are empty.
type Client struct {
	base      *url.URL
	transport http.RoundTripper
}

// New returns a client of the simulator at base.
func New(base *url.URL, transport http.RoundTripper) *Client { return &Client{base, transport} }

// Reset opens new books, even if ctx has ended.
func (j *Client) Reset(ctx context.Context) error {
	if j == nil {
		return nil
	}
	if _, err := j.call(context.WithoutCancel(ctx), http.MethodPost, "sim/reset"); err != nil {
		return fmt.Errorf("reset the judge's books: %w", err)
	}
	return nil
}

// Read reads the books, even if ctx has ended.
func (j *Client) Read(ctx context.Context) (Books, error) {
	var books Books
	if j == nil {
		return books, nil
	}
	body, err := j.call(context.WithoutCancel(ctx), http.MethodGet, "sim/stats")
	if err == nil {
		err = json.Unmarshal(body, &books)
	}
	if err != nil {
		return books, fmt.Errorf("read the judge's books: %w", err)
	}
	return books, nil
}

// Final reads the books once nothing runs at the judge any more, or a second has
// passed: what users broke off ends there a moment after it ended for them.
func (j *Client) Final(ctx context.Context) (books Books, err error) {
	const step, most = 50 * time.Millisecond, 20
	for range most {
		if books, err = j.Read(ctx); err != nil || books.InFlight == 0 {
			return books, err
		}
		<-time.After(step)
	}
	return books, nil
}

func (j *Client) call(ctx context.Context, method, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, j.base.JoinPath(path).String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := j.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBooks))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, errors.New(resp.Status + " from " + j.base.Host + ": is it a millrace simulator?")
	}
	return body, nil
}
