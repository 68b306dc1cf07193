package sim

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
)

// wantsTool: tools are offered, not forbidden, and it is the user's turn to be
// answered. After a tool's result the model speaks.
func (r *request) wantsTool() bool {
	return r.lastRole == "user" && unquote(r.toolChoice) != "none" && len(itemsOf(r.tools)) > 0
}

// callTool picks the function asked for by tool_choice, else one at random,
// and makes arguments that its schema accepts.
func callTool(r *request, rng *rand.Rand) (name, arguments string) {
	tools := itemsOf(r.tools)
	chosen := member(tools[rng.IntN(len(tools))], "function")
	if len(r.toolChoice) > 0 && r.toolChoice[0] == '{' {
		wanted := unquote(member(member(r.toolChoice, "function"), "name"))
		for _, t := range tools {
			if f := member(t, "function"); unquote(member(f, "name")) == wanted {
				chosen = f
			}
		}
	}
	arguments = "{}"
	if schema := member(chosen, "parameters"); schema != nil {
		arguments = string(fromSchema(schema, rng))
	}
	return unquote(member(chosen, "name")), arguments
}

// formatted is the response format that asks for JSON, nil for text.
func formatted(format []byte) []byte {
	if len(format) == 0 || format[0] != '{' {
		return nil
	}
	switch unquote(member(format, "type")) {
	case "json_schema", "json_object":
		return format
	}
	return nil
}

func fromFormat(r *request, rng *rand.Rand) string {
	if schema := member(member(r.format, "json_schema"), "schema"); schema != nil {
		return string(fromSchema(schema, rng))
	}
	if r.feedback {
		return `{"feedback":` + feedback(rng) + `}`
	}
	return string(mustJSON(map[string]any{"answer": sentence(rng), "confidence": confidence(rng)}))
}

// feedbackItem is one remark of a document review.
type feedbackItem struct {
	ID          string   `json:"id"`
	Type        string   `json:"type"`
	Category    string   `json:"category"`
	Description string   `json:"description"`
	Suggestion  string   `json:"suggestion"`
	Example     string   `json:"example"`
	Questions   []string `json:"questions"`
	RiskLevel   string   `json:"risk_level"`
	Confidence  float64  `json:"confidence"`
}

func feedback(rng *rand.Rand) string {
	items := make([]feedbackItem, 3+rng.IntN(4))
	for i := range items {
		items[i] = feedbackItem{
			ID:          "f" + string(rune('1'+i)),
			Type:        pick(rng, "critical", "important", "suggestion", "positive"),
			Category:    pick(rng, "Clarity", "Evidence", "Structure", "Completeness", "Accuracy"),
			Description: sentence(rng),
			Suggestion:  sentence(rng),
			Example:     sentence(rng),
			Questions:   []string{strings.TrimSuffix(sentence(rng), ".") + "?"},
			RiskLevel:   pick(rng, "High", "Medium", "Low"),
			Confidence:  confidence(rng),
		}
	}
	return string(mustJSON(items))
}

func confidence(rng *rand.Rand) float64 { return float64(60+rng.IntN(40)) / 100 }

func pick(rng *rand.Rand, choices ...string) string { return choices[rng.IntN(len(choices))] }

func sentence(rng *rand.Rand) string {
	words := strings.Fields(vocabulary)
	out := make([]string, 5+rng.IntN(6))
	for i := range out {
		out[i] = words[rng.IntN(len(words))]
	}
	text := strings.Join(out, " ") + "."
	return strings.ToUpper(text[:1]) + text[1:]
}

// mustJSON is for values of our own making, which always marshal.
func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return []byte("null")
	}
	return b
}
