package openai

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

const (
	mask = "***"
	// Shorter keys are placeholders such as "EMPTY" for servers without
	// authentication: masking them would only garble messages.
	minSecret = 8
)

// Secret is a credential that prints as *** in every way the standard library
// knows. The zero value means that there is none. Use string(s) to reveal it.
type Secret string

// String returns *** or, if there is no secret, nothing.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return mask
}

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// Format implements fmt.Formatter, since %d or %x would pass String by.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText implements encoding.TextMarshaler, for JSON and YAML alike.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// redact masks the secret where it stands in text.
func (s Secret) redact(text string) string {
	if len(s) < minSecret {
		return text
	}
	return strings.ReplaceAll(text, string(s), mask)
}
