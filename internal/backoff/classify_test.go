package backoff

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/llm"
)

const (
	openAIThrottle = `{"error":{"message":"Rate limit reached for m in organization o on tokens per min (TPM): Limit 200000, Used 195869, Requested 4412. Please try again in 84ms.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`
	openAITooLarge = `{"error":{"message":"Request too large for m in organization o on tokens per min (TPM): Limit 30000, Requested 34307. Visit the site.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`
	geminiMinute   = `{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerMinutePerProjectPerModel"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34s"}]}}`
)

func TestClassify(t *testing.T) {
	amzn := func(name string) http.Header { return header("X-Amzn-Errortype", name) }
	for _, c := range []struct {
		name   string
		status int
		header http.Header
		body   string
		want   llm.ErrorKind
	}{
		{"success", 200, nil, "", llm.KindNone},
		{"success with an answer", 200, nil, `{"choices":[]}`, llm.KindNone},
		{"no answer at all", 0, nil, "", llm.KindTransient},
		{"redirect", 302, nil, "", llm.KindTransient},
		{"error in a stream", 200, nil, `{"error":{"message":"The server had an error"}}`, llm.KindTransient},
		{"overload in a stream", 200, nil, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`, llm.KindOverload},

		{"OpenAI throttle", 429, nil, openAIThrottle, llm.KindThrottle},
		{"OpenAI larger than the quota", 429, nil, openAITooLarge, llm.KindTooLarge},
		{"OpenAI money", 429, nil, `{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}`, llm.KindExhausted},
		{"OpenAI spend limit", 429, nil, `{"error":{"code":"project_spend_limit_exceeded"}}`, llm.KindExhausted},
		{"OpenAI ramp", 429, nil, `{"error":{"code":"slow_down","message":"Your request rate increased too quickly"}}`, llm.KindThrottle},
		{"OpenAI old ramp", 503, nil, `{"error":{"message":"Slow Down"}}`, llm.KindThrottle},
		{"OpenAI context", 400, nil, `{"error":{"message":"too long","type":"invalid_request_error","code":"context_length_exceeded"}}`, llm.KindTooLarge},
		{"OpenAI overload", 503, nil, `{"error":{"code":"server_is_overloaded"}}`, llm.KindOverload},
		{"OpenAI server error", 500, nil, `{"error":{"type":"server_error","message":"oops"}}`, llm.KindTransient},
		{"OpenAI server error, unavailable", 503, nil, `{"error":{"type":"server_error","message":"oops"}}`, llm.KindOverload},
		{"OpenAI key", 401, nil, `{"error":{"code":"invalid_api_key"}}`, llm.KindAuth},
		{"OpenAI model", 404, nil, `{"error":{"code":"model_not_found"}}`, llm.KindInvalid},

		{"Anthropic throttle", 429, nil, `{"type":"error","error":{"type":"rate_limit_error","message":"x"}}`, llm.KindThrottle},
		{"Anthropic spend cap", 429, nil, `{"type":"error","error":{"type":"rate_limit_error","message":"x","details":{"error_code":"enforced_spend_limit_reached"}}}`, llm.KindExhausted},
		{"Anthropic billing", 402, nil, `{"type":"error","error":{"type":"billing_error"}}`, llm.KindExhausted},
		{"Anthropic empty purse", 400, nil, `{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the API."}}`, llm.KindExhausted},
		{"Anthropic overload", 529, nil, `{"type":"error","error":{"type":"overloaded_error"}}`, llm.KindOverload},
		{"Anthropic context", 400, nil, `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}`, llm.KindTooLarge},
		{"Anthropic body size", 413, nil, `{"type":"error","error":{"type":"request_too_large"}}`, llm.KindTooLarge},
		{"Anthropic timeout", 504, nil, `{"type":"error","error":{"type":"timeout_error"}}`, llm.KindTimeout},

		{"Bedrock throttle", 429, amzn("ThrottlingException:http://internal/"), `{"message":"Too many tokens, please wait before trying again."}`, llm.KindThrottle},
		{"Bedrock throttle, bare", 400, nil, `{"message":"Too many tokens, please wait before trying again."}`, llm.KindThrottle},
		{"Bedrock day", 429, amzn("ThrottlingException"), `{"message":"Too many tokens per day, please wait before trying again."}`, llm.KindExhausted},
		{"Bedrock quota", 400, amzn("ServiceQuotaExceededException"), `{"message":"x"}`, llm.KindExhausted},
		{"Bedrock not ready", 429, amzn("ModelNotReadyException"), `{"message":"x"}`, llm.KindOverload},
		{"Bedrock timeout", 408, amzn("ModelTimeoutException"), `{"message":"x"}`, llm.KindTimeout},
		{"Bedrock model", 424, amzn("ModelErrorException"), `{"message":"x"}`, llm.KindTransient},
		{"Bedrock type in body", 403, nil, `{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"x"}`, llm.KindAuth},
		{"Bedrock context", 400, amzn("ValidationException"), `{"message":"Input is too long for requested model."}`, llm.KindTooLarge},
		{"Bedrock in a stream", 200, nil, `{"__type":"throttlingException","message":"Too many requests"}`, llm.KindThrottle},

		{"Gemini minute", 429, nil, geminiMinute, llm.KindThrottle},
		{"Gemini minute in an array", 429, nil, "[" + geminiMinute + "]", llm.KindThrottle},
		{"Gemini day", 429, nil, strings.ReplaceAll(geminiMinute, "PerMinute", "PerDay"), llm.KindExhausted},
		{"Gemini context", 400, nil, `{"error":{"code":400,"status":"INVALID_ARGUMENT","message":"The input token count (2000000) exceeds the maximum number of tokens allowed (1048576)."}}`, llm.KindTooLarge},
		{"Gemini away", 503, nil, `{"error":{"status":"UNAVAILABLE","message":"x"}}`, llm.KindOverload},

		{"vLLM context", 400, nil, `{"error":{"message":"This model's maximum context length is 4096 tokens. However, you asked for more","type":"BadRequestError","param":null,"code":400}}`, llm.KindTooLarge},
		{"vLLM bad request", 400, nil, `{"error":{"message":"bad","type":"BadRequestError","code":400}}`, llm.KindInvalid},
		{"Ollama full", 503, nil, `{"error":"server busy, please try again.  maximum pending requests exceeded"}`, llm.KindOverload},
		{"Eliza throttle", 429, nil, `{"success":false,"error":{"code":"RATE_LIMIT_EXCEEDED","message":"Too many requests. Please try again later."}}`, llm.KindThrottle},
		{"FastAPI", 422, nil, `{"detail":[{"msg":"field required","type":"missing"}]}`, llm.KindInvalid},
		{"Azure out of quota", 403, nil, `{"statusCode":403,"message":"Out of call volume quota. Quota will be replenished in 5 days."}`, llm.KindExhausted},

		{"too early", 425, nil, "", llm.KindTransient},
		{"request timeout", 408, nil, "", llm.KindTimeout},
		{"bad gateway", 502, nil, "<html>Bad gateway</html>", llm.KindTransient},
		{"strange server error", 520, nil, "", llm.KindTransient},
		{"conflict", 409, nil, "", llm.KindInvalid},
		{"text", 429, nil, "slow, please", llm.KindThrottle},

		// What a client wrote must not take an upstream out of service.
		{"echo of money", 400, nil, `{"error":{"message":"Invalid value: 'Your credit balance is too low, insufficient_quota'"}}`, llm.KindInvalid},
		{"echo of a day", 400, nil, `{"error":{"message":"Invalid value: 'too many tokens per day'"}}`, llm.KindInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Classify(c.status, c.header, []byte(c.body)); got != c.want {
				t.Errorf("kind %v, want %v", got, c.want)
			}
		})
	}
}

func TestRead(t *testing.T) {
	h := header("Retry-After", "2")
	got := Read(now, 429, h, []byte(openAIThrottle))
	want := &llm.Error{
		Kind: llm.KindThrottle, Status: 429, Code: "rate_limit_exceeded", Type: "tokens", RetryAfter: 2 * time.Second,
		Message: "Rate limit reached for m in organization o on tokens per min (TPM): Limit 200000, Used 195869, Requested 4412. Please try again in 84ms.",
		Header:  h, Body: []byte(openAIThrottle),
	}
	if diff := cmp.Diff(*want, *got); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

func TestReadMessage(t *testing.T) {
	for body, want := range map[string]string{
		``:                                       "Bad Request",
		`<html>oops</html>`:                      "Bad Request",
		`{"error":"busy"}`:                       "busy",
		`["busy"]`:                               "busy",
		`"busy"`:                                 "busy",
		`{"detail":"not found"}`:                 "not found",
		`{"detail":[{"msg":"required"}]}`:        "required",
		`{"errors":[{"message":"first"}]}`:       "first",
		`{"error":{"message":"cut off in th`:     `{"error":{"message":"cut off in th`,
		`[[[[[[[[{"message":"too deep"}]]]]]]]]`: "Bad Request",
	} {
		if got := Read(now, 400, nil, []byte(body)).Message; got != want {
			t.Errorf("message of %s is %q, want %q", body, got, want)
		}
	}
}

func TestReadIsBounded(t *testing.T) {
	e := Read(now, 500, nil, []byte(`{"error":{"message":"`+strings.Repeat("é", 1<<20)+`"}}`))
	if len(e.Body) > maxBody || len(e.Message) > maxMessage {
		t.Errorf("body %d bytes, message %d", len(e.Body), len(e.Message))
	}
}

// A failure stays a failure, whatever the status says.
func TestI6ReadIsNeverNone(t *testing.T) {
	if e := Read(now, 200, nil, nil); e.Kind != llm.KindTransient {
		t.Errorf("kind %v", e.Kind)
	}
}

func TestIsRamp(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   bool
	}{
		{429, `{"error":{"code":"slow_down"}}`, true},
		{429, `{"error":{"message":"Your request rate increased too quickly. Please slow down."}}`, true},
		{503, `{"error":{"message":"Slow Down"}}`, true},
		{429, `{"error":{"type":"rate_limit_error","message":"This request would exceed your acceleration limit"}}`, true},
		{429, openAIThrottle, false},
		{400, `{"error":{"message":"slow down"}}`, false},
	} {
		if got := IsRamp(Read(now, c.status, nil, []byte(c.body))); got != c.want {
			t.Errorf("IsRamp = %v for %s", got, c.body)
		}
	}
	if IsRamp(nil) {
		t.Error("no error is a ramp")
	}
}

func TestI5SecretsAreCutOut(t *testing.T) {
	for _, secret := range []string{
		"sk-proj-abcdefghijklmnop1234", "sk-ant-api03-AAAA_BBBB-cccc", "sk-proj-********************abcd", "gsk_abcdefgh12345678",
		"AIzaSyA1234567890abcdefghijklmnopqrstuv", "AKIAIOSFODNN7EXAMPLE", "hf_abcdefghijklmnop",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
	} {
		body := `{"error":{"message":"Incorrect API key provided: ` + secret + `. You can find it on the site.","code":"invalid_api_key"}}`
		e := Read(now, 401, nil, []byte(body))
		if strings.Contains(e.Message, secret) || strings.Contains(string(e.Body), secret) {
			t.Errorf("%s left in %q / %s", secret, e.Message, e.Body)
		}
		if !strings.Contains(e.Message, "You can find it on the site.") {
			t.Errorf("too much was cut out: %q", e.Message)
		}
	}
	for in, want := range map[string]string{
		"Authorization: Bearer abcdefgh12345":             "Authorization: [redacted]",
		"Incorrect API key provided: millrace***key.":     "Incorrect [redacted]",
		"GET https://x/v1?key=abcdef&alt=sse failed":      "GET https://x/v1[redacted]&alt=sse failed",
		"the risk-adjusted task-queue is fine":            "the risk-adjusted task-queue is fine",
		"basic information about your request is missing": "basic information about your request is missing",
	} {
		if got := Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	h := openAIHeader()
	b.ReportAllocs()
	for b.Loop() {
		Read(now, 429, h, []byte(openAIThrottle))
	}
}
