package cli

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/internal/config"
)

func newKeysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make, list and revoke the keys of callers",
		Long: "Make, list and revoke the keys of callers. They are kept as hashes in keys.yaml of the state directory, which a\n" +
			"running gateway reads again by itself.",
	}
	cmd.AddCommand(newKeysCreateCommand(), newKeysListCommand(), newKeysRevokeCommand())
	return cmd
}

// grant is what the command line says of a new key, as it will stand in the file.
type grant struct {
	name, tenant, role, class, weight, requests, tokens, seats string
	classes, models                                            []string
}

func newKeysCreateCommand() *cobra.Command {
	var s config.Source
	var g grant
	cmd := &cobra.Command{
		Use:   "create --name NAME",
		Short: "Make a key and print it, once, to standard output",
		Example: "  millrace keys create --name app\n" +
			"  millrace keys create --name reports --tenant office --class batch --models 'gpt-4o*' --requests 60/m",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return createKey(Streams{Out: cmd.OutOrStdout(), Err: cmd.ErrOrStderr()}, s, g)
		},
	}
	registerSource(cmd, &s)
	f := cmd.Flags()
	f.StringVar(&g.name, "name", "", "name of the key (required)")
	f.StringVar(&g.tenant, "tenant", "", "who shares fairly with other tenants (default the name)")
	f.StringVar(&g.role, "role", "", "client asks models alone, viewer may look at the console, operator may act there (default client)")
	f.StringVar(&g.class, "class", "", "class of its requests (default chat)")
	f.StringSliceVar(&g.classes, "classes", nil, "classes it may name (default all)")
	f.StringSliceVar(&g.models, "models", nil, "models it may name, gpt-* for all that begin so (default all)")
	f.StringVar(&g.weight, "weight", "", "share of the tenant within a class (default 1)")
	f.StringVar(&g.requests, "requests", "", "requests of the tenant, such as 60/m (default no limit)")
	f.StringVar(&g.tokens, "tokens", "", "tokens of the tenant, such as 50000/m (default no limit)")
	f.StringVar(&g.seats, "seats", "", "requests of the tenant at a time (default no limit)")
	return cmd
}

func createKey(s Streams, source config.Source, g grant) error {
	if g.name == "" {
		return &usageError{errors.New("--name is missing; say who will use the key, such as --name app")}
	}
	secret, err := newSecret()
	if err != nil {
		return err
	}
	c, err := editKeys(source, func(_ *config.Config, text string) (string, error) {
		return addEntry(text, g.entry(sha256.Sum256([]byte(secret)))), nil
	})
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(s.Err, "The key %s stands in %s as a hash. This is the only time it is shown; clients send it as their API key:\n", g.name, c.KeysFile())
	_, err = fmt.Fprintln(s.Out, secret)
	return err
}

// newSecret is a key of 256 random bits.
func newSecret() (string, error) {
	var bits [32]byte
	if _, err := rand.Read(bits[:]); err != nil {
		return "", fmt.Errorf("make a key: %w", err)
	}
	return fmt.Sprintf("sk-mr-%043s", new(big.Int).SetBytes(bits[:]).Text(62)), nil
}

// entry is the key's line of the file, read strictly before it is kept.
func (g *grant) entry(hash [32]byte) string {
	parts := []string{"name: " + strconv.Quote(g.name), "sha256: " + hex.EncodeToString(hash[:])}
	for _, p := range []struct{ key, value string }{
		{"tenant", g.tenant}, {"role", g.role}, {"class", g.class}, {"weight", g.weight}, {"requests", g.requests}, {"tokens", g.tokens}, {"seats", g.seats},
	} {
		if p.value != "" {
			parts = append(parts, p.key+": "+strconv.Quote(p.value))
		}
	}
	for _, p := range []struct {
		key    string
		values []string
	}{{"classes", g.classes}, {"models", g.models}} {
		if len(p.values) > 0 {
			quoted := make([]string, len(p.values))
			for i, v := range p.values {
				quoted[i] = strconv.Quote(v)
			}
			parts = append(parts, p.key+": ["+strings.Join(quoted, ", ")+"]")
		}
	}
	return "  - {" + strings.Join(parts, ", ") + "}\n"
}

const keysHeader = "# Kept by `millrace keys`: one key a line, as its hash.\n"

var keysLine = regexp.MustCompile(`(?m)^keys:[ \t]*\n`)

func addEntry(text, entry string) string {
	if strings.TrimSpace(text) == "" {
		text = keysHeader
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if !keysLine.MatchString(text) {
		text += "keys:\n"
	}
	return text + entry
}

func newKeysRevokeCommand() *cobra.Command {
	var s config.Source
	cmd := &cobra.Command{
		Use:     "revoke NAME",
		Short:   "Take a key back",
		Example: "  millrace keys revoke app",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.ExactArgs(1)(cmd, args); err != nil {
				return &usageError{err}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := editKeys(s, func(c *config.Config, text string) (string, error) {
				return removeEntry(c, text, args[0])
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "revoked %s; %d left\n", args[0], len(c.Keys))
			return err
		},
	}
	registerSource(cmd, &s)
	return cmd
}

// removeEntry takes the line of a key out of the file. What stands elsewhere or
// in another form is its writer's to remove.
func removeEntry(c *config.Config, text, name string) (string, error) {
	for i := range c.Keys {
		if c.Keys[i].Name != name {
			continue
		}
		origin := c.Origin("keys." + strconv.Itoa(i))
		lines := strings.SplitAfter(text, "\n")
		if origin.Name != c.KeysFile() || origin.Line > len(lines) || !wholeEntry.MatchString(lines[origin.Line-1]) {
			return "", &usageError{fmt.Errorf("%s: the key %s was written by hand; remove it there", origin, name)}
		}
		lines[origin.Line-1] = ""
		text = strings.Join(lines, "")
		if !strings.Contains(text, "\n  - ") {
			text = keysLine.ReplaceAllString(text, "")
		}
		return text, nil
	}
	return "", &usageError{fmt.Errorf("there is no key %s; millrace keys list shows them", name)}
}

var wholeEntry = regexp.MustCompile(`^  - \{([^"#]|"[^"\n]*")*\}\n?$`)

// editKeys changes the file of keys as a whole or not at all. The new file,
// while it is written, keeps other editors out.
func editKeys(source config.Source, edit func(c *config.Config, text string) (string, error)) (*config.Config, error) {
	c, err := loadKeys(source)
	if err != nil {
		return nil, err
	}
	path := c.KeysFile()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	next, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s.new exists: another millrace keys is at work; if none is, remove that file", path)
	}
	if err != nil {
		return nil, fmt.Errorf("write keys: %w", err)
	}
	c, err = replaceKeys(next, path, source, edit)
	if err != nil {
		_ = next.Close()
		return nil, errors.Join(err, os.Remove(path+".new"))
	}
	return c, nil
}

func replaceKeys(next *os.File, path string, source config.Source, edit func(c *config.Config, text string) (string, error)) (*config.Config, error) {
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	text := string(before)
	source.Keys = &text
	c, err := loadKeys(source)
	if err != nil {
		return nil, err
	}
	if text, err = edit(c, text); err != nil {
		return nil, err
	}
	if c, err = loadKeys(source); err != nil {
		return nil, err
	}
	if len(c.Keys) == 0 && !c.AllLoopback() {
		return nil, &usageError{fmt.Errorf("listen is %s, which needs a key, and this is the last one; create another first", c.Listen)}
	}
	if _, err := next.WriteString(text); err != nil {
		return nil, fmt.Errorf("write keys: %w", err)
	}
	if err := errors.Join(next.Sync(), next.Close()); err != nil {
		return nil, fmt.Errorf("write keys: %w", err)
	}
	return c, os.Rename(next.Name(), path)
}

func loadKeys(s config.Source) (*config.Config, error) {
	c, err := config.LoadKeys(s)
	if err != nil {
		return nil, &usageError{err}
	}
	return c, nil
}

func newKeysListCommand() *cobra.Command {
	var s config.Source
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the keys: who, the first digits of the hash, and limits",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadKeys(s)
			if err != nil {
				return err
			}
			return listKeys(cmd.OutOrStdout(), c)
		},
	}
	registerSource(cmd, &s)
	return cmd
}

func listKeys(w io.Writer, c *config.Config) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "NAME\tTENANT\tROLE\tSHA256\tCLASS\tCLASSES\tMODELS\tWEIGHT\tREQUESTS\tTOKENS\tSEATS\tWHERE")
	for i := range c.Keys {
		k := &c.Keys[i]
		weight, seats := "1", "none"
		if k.Weight > 0 {
			weight = strconv.FormatFloat(k.Weight, 'g', -1, 64)
		}
		if k.Seats > 0 {
			seats = strconv.Itoa(k.Seats)
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.Name, k.Tenant, or(k.Role, "client"), k.SHA256, or(k.Class, "chat"),
			or(strings.Join(k.Classes, ","), "all"), or(strings.Join(k.Models, ","), "all"), weight, k.Requests, k.Tokens, seats,
			c.Origin("keys."+strconv.Itoa(i)))
	}
	return t.Flush()
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}
