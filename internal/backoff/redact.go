package backoff

import "regexp"

// secret matches what looks like a credential. Providers quote the key they
// refused, and it is the operator's, not the client's.
var secret = regexp.MustCompile(`` +
	`\b(?:sk|pk|rk|gsk|xai|hf|mr)[-_][A-Za-z0-9_*.\-]{8,}` + // provider keys, masked ones too
	`|\bAIza[A-Za-z0-9_\-]{20,}` + // Google
	`|\b(?:AKIA|ASIA|ABSK)[A-Za-z0-9+/=]{12,}` + // AWS
	`|\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{4,}(?:\.[A-Za-z0-9_\-]*)?` + // JWT
	`|(?i:\bbearer +)[A-Za-z0-9_~+/=.*\-]{8,}` +
	`|(?i:\bbasic +)[A-Za-z0-9+/=]{20,}` +
	`|(?i:\bapi[ _-]?key(?: provided)?["']? *[:=] *["']?)[A-Za-z0-9_~+/=.*\-]{4,}` +
	`|(?i:[?&](?:key|api[_-]?key|token|access_token)=)[^\s&"']+`)

const redacted = "[redacted]"

// Redact replaces everything in s that looks like a credential.
func Redact(s string) string { return secret.ReplaceAllLiteralString(s, redacted) }

// redactBytes is Redact without a copy when there is nothing to replace.
func redactBytes(b []byte) []byte {
	if !secret.Match(b) {
		return b
	}
	return secret.ReplaceAllLiteral(b, []byte(redacted))
}
