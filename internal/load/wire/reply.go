package wire

import "encoding/json"

// Reply is what an application's endpoint answers, and what it says of a task.
// Members it does not have are zero.
type Reply struct {
	Success *bool           `json:"success"`
	Async   bool            `json:"async"` // the result is that of the task
	TaskID  string          `json:"task_id"`
	Tokens  *Usage          `json:"tokens"`
	State   string          `json:"state"` // of a task: SUCCESS, FAILURE and REVOKED are its ends
	Result  json.RawMessage `json:"result"`
}

// Usage is what an endpoint's answer cost.
type Usage struct {
	Input  int64 `json:"input"`
	Output int64 `json:"output"`
}

// ValidID reports whether the task's id can be put into a path: what a target
// invents must not lead elsewhere.
func (r *Reply) ValidID() bool {
	for _, c := range []byte(r.TaskID) {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-' || c == '_') {
			return false
		}
	}
	return r.TaskID != "" && len(r.TaskID) <= 128
}
