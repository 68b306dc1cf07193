package openai

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/millrace/millrace/internal/llm"
)

// Bounds of a list of models.
const (
	maxModelsBytes = 4 << 20
	modelsTimeout  = 10 * time.Second
)

// Models returns the names that the endpoint lists at /models, in its order.
func (c *Client) Models(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, modelsTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.models.String(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("list models of %s: %w", c.host, err)
	}
	req.Header = c.header(&llm.Call{})
	delete(req.Header, "Content-Type")
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("list models of %s: no answer", c.host) // the cause may hold the URL
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("list models of %s: status %d", c.host, resp.StatusCode)
	}
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxModelsBytes)).Decode(&list); err != nil {
		return nil, fmt.Errorf("list models of %s: the answer is no list: %w", c.host, err)
	}
	names := make([]string, 0, len(list.Data))
	for _, m := range list.Data {
		if m.ID != "" {
			names = append(names, m.ID)
		}
	}
	return names, nil
}
