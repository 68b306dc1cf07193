package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/internal/explain"
)

// Bounds of a question to a running gateway.
const (
	askTime = 10 * time.Second
	askSize = 8 << 20 // bytes of its answer
)

// explainFlags is what the command line says about the question.
type explainFlags struct {
	url     string
	key     string
	keyFile string
	limit   int
	json    bool
}

func newExplainCommand() *cobra.Command {
	f := &explainFlags{}
	cmd := &cobra.Command{
		Use:   "explain [ID]",
		Short: "Tell why a request waited, was refused or failed, and what would have helped",
		Long: "Tell the story of one request of a running gateway: why it waited, for which limit and how long, what was\n" +
			"foretold and what came, its attempts, and what would have helped. The ID is in the header Millrace-Request-Id\n" +
			"of its answer. Without one the latest requests are listed. A key sees the requests of its own tenant, that of\n" +
			"a viewer or an operator sees all.",
		Example: "  millrace explain\n" +
			"  millrace explain req_0123456789abcdef\n" +
			"  millrace explain --url https://gateway.example.org --key-file key --limit 100 --json",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.MaximumNArgs(1)(cmd, args); err != nil {
				return &usageError{err}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && cmd.Flags().Changed("limit") {
				return &usageError{errors.New("--limit is of the list, and an ID names one request: leave one of them out")}
			}
			return f.run(cmd.Context(), args, cmd.OutOrStdout())
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.url, "url", "http://127.0.0.1:8080", "the gateway")
	fs.StringVar(&f.key, "key", "", "bearer token to send")
	fs.StringVar(&f.keyFile, "key-file", "", "file that holds the bearer token, so that it is not seen in the process list")
	fs.IntVar(&f.limit, "limit", 20, "without ID: how many of the latest requests, at most 200")
	fs.BoolVar(&f.json, "json", false, "write JSON, as the gateway sends it")
	return cmd
}

func (f *explainFlags) run(ctx context.Context, args []string, stdout io.Writer) error {
	base, err := f.complete()
	if err != nil {
		return &usageError{err}
	}
	if len(args) == 0 {
		return f.list(ctx, base, stdout)
	}
	var story explain.Story
	text, err := f.ask(ctx, base.JoinPath("api/v1/requests", url.PathEscape(args[0])), &story)
	if err != nil {
		return err
	}
	return f.write(stdout, text, story.Text)
}

func (f *explainFlags) list(ctx context.Context, base *url.URL, stdout io.Writer) error {
	var list struct{ Requests []explain.Line }
	question := base.JoinPath("api/v1/requests")
	question.RawQuery = "limit=" + strconv.Itoa(f.limit)
	text, err := f.ask(ctx, question, &list)
	if err != nil {
		return err
	}
	return f.write(stdout, text, func() string {
		if len(list.Requests) == 0 {
			return "No request has ended yet, of those that this key may see.\n"
		}
		return explain.Table(list.Requests)
	})
}

func (f *explainFlags) write(stdout io.Writer, text []byte, words func() string) error {
	if f.json {
		_, err := stdout.Write(text)
		return err
	}
	_, err := io.WriteString(stdout, words())
	return err
}

// complete checks the flags and returns the address of the gateway.
func (f *explainFlags) complete() (*url.URL, error) {
	base, err := url.Parse(f.url)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("--url: %q is no address of a gateway; write it as http://127.0.0.1:8080", f.url)
	}
	if base.User != nil {
		return nil, errors.New("--url: it holds a credential; pass that with --key-file")
	}
	base.Path = strings.TrimSuffix(strings.TrimSuffix(base.Path, "/"), "/v1") // as clients of models write it
	if f.limit < 1 || f.limit > 200 {
		return nil, fmt.Errorf("--limit: %d is not between 1 and 200", f.limit)
	}
	if f.keyFile == "" {
		return base, nil
	}
	if f.key != "" {
		return nil, errors.New("--key and --key-file exclude each other: choose one")
	}
	key, err := os.ReadFile(f.keyFile)
	if err != nil {
		return nil, fmt.Errorf("--key-file: %w", err)
	}
	if f.key = strings.TrimSpace(string(key)); f.key == "" {
		return nil, fmt.Errorf("--key-file: %s is empty", f.keyFile)
	}
	return base, nil
}

// ask puts the question and decodes the answer into it.
func (f *explainFlags) ask(ctx context.Context, question *url.URL, into any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, question.String(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("ask the gateway: %w", err)
	}
	if f.key != "" {
		request.Header.Set("Authorization", "Bearer "+f.key)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the gateway: %w; say with --url where it listens", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, askSize))
	if err != nil {
		return nil, fmt.Errorf("read the gateway's answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, refused(response.StatusCode, text)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return nil, fmt.Errorf("%s gave no answer of a gateway: %w", question.Host, err)
	}
	return text, nil
}

// refused says in one line what the gateway said instead of an answer.
func refused(status int, text []byte) error {
	var problem struct{ Title, Detail string }
	_ = json.Unmarshal(text, &problem) // whoever answered may not be a gateway
	said := problem.Detail
	if said == "" {
		said = problem.Title
	}
	if said == "" {
		said = http.StatusText(status)
	}
	if status == http.StatusUnauthorized {
		said += " Pass a key with --key-file."
	}
	return fmt.Errorf("the gateway says %d: %s", status, explain.Inert(said))
}
