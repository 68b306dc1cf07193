package gateway

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// shape is OpenAI's form of an error.
type shape struct {
	Error shapeInner `json:"error"`
}

type shapeInner struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

// problem is RFC 9457's.
type problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Detail   string `json:"detail"`
	Instance string `json:"instance"`
}

// body is the fault in a dialect, and its media type.
func (f *fault) body(d Dialect, id string) (text []byte, media string) {
	var v any
	media = "application/json"
	switch d {
	case Problem:
		media = "application/problem+json"
		p := problem{Type: "about:blank", Title: http.StatusText(f.status), Status: f.status, Detail: f.message, Instance: id}
		if f.code != "" {
			p.Type = "urn:millrace:problem:" + f.code
		}
		v = p
	case App:
		v = struct {
			Success bool   `json:"success"`
			Error   string `json:"error"`
		}{Error: f.message}
	case OpenAI:
		s := shape{shapeInner{Message: f.message, Type: f.typ}}
		if f.param != "" {
			s.Error.Param = &f.param
		}
		if f.code != "" {
			s.Error.Code = &f.code
		}
		v = s
	}
	text, err := json.Marshal(v)
	if err != nil { // strings always marshal
		return []byte("{}"), media
	}
	return text, media
}

// frame is the fault as an event of a stream that has begun.
func (f *fault) frame() []byte {
	text, _ := f.body(OpenAI, "")
	return append(append([]byte("data: "), text...), "\n\n"...)
}

// write answers with the fault.
func (f *fault) write(w http.ResponseWriter, id string, d Dialect) {
	h := w.Header()
	var text []byte
	var media string
	if f.origin != nil && d == OpenAI {
		text, media = f.origin.Body, "application/json"
		if t := f.origin.Header.Get("Content-Type"); t != "" {
			media = t
		}
		passHeader(h, f.origin.Header)
	} else {
		text, media = f.body(d, id)
	}
	h["Content-Type"] = []string{media}
	h["Content-Length"] = []string{strconv.Itoa(len(text))}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	if h["X-Request-Id"] == nil {
		h["X-Request-Id"] = []string{id}
	}
	if f.allow != "" {
		h["Allow"] = []string{f.allow}
	}
	if f.close {
		h["Connection"] = []string{"close"}
	}
	f.advise(h)
	w.WriteHeader(f.status)
	_, _ = w.Write(text) // a client that has left cannot be told
}
