package verdict

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/millrace/millrace/internal/load"
)

// silent returns an error for each target that answered nothing but errors.
func silent(targets []load.Result) error {
	var faults []error
	for i := range targets {
		t := &targets[i]
		if t.Answered > 0 || t.Errors == 0 {
			continue
		}
		said := words(t.Samples[t.FirstError])
		fault := fmt.Errorf("%s: %w: every request to %s failed (%d), the first with %s", t.Target, ErrSilent, t.URL, t.Errors, t.FirstError)
		if said != "" {
			fault = fmt.Errorf("%w: %s", fault, said)
		}
		if hint := mend(t.FirstError, said); hint != "" {
			fault = fmt.Errorf("%w; %s", fault, hint)
		}
		faults = append(faults, fault)
	}
	return errors.Join(faults...)
}

// words is what a target said, in one line: the message alone where it is an error in
// the form of the API.
func words(sample string) string {
	var api struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal([]byte(sample), &api) == nil && api.Error.Message != "" {
		sample = api.Error.Message
	}
	return strings.Join(strings.Fields(sample), " ")
}

// mend is what to look at after a first error.
func mend(label, said string) string {
	switch {
	case label == "refused":
		return "nothing listens there: is it started, and on this port?"
	case label == "401", label == "403":
		return "give the key by --key-file"
	case label == "404", label == "405":
		return "is it the base URL, such as http://127.0.0.1:8080/v1, and the model (--model) one it knows?"
	case label == "format":
		return "is it the base URL of an API, such as http://127.0.0.1:8080/v1?"
	case strings.Contains(said, "server gave HTTP response to HTTPS client"), strings.Contains(said, "does not look like a TLS handshake"):
		return "it speaks no TLS: write http://"
	case strings.Contains(said, "malformed HTTP"), label == "eof", label == "400" && strings.Contains(said, "HTTPS"):
		return "does it want TLS? Then write https://"
	case strings.Contains(said, "unknown authority"):
		return "its certificate is not trusted by this machine: SSL_CERT_FILE names one that is to be"
	case strings.Contains(said, "no such host"):
		return "the name is not known here"
	}
	return ""
}
