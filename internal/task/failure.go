package task

// Failure is the error of a work that has an opinion about it. Any other error of a
// work counts as Failure{Message: "internal error"}.
type Failure struct {
	Message string // what the client reads: words for people, never a secret
	Retry   bool   // another try may help
	Err     error  // the cause, for logs; nil for none
}

// Error returns the message and the cause.
func (f *Failure) Error() string {
	if f.Err == nil {
		return f.Message
	}
	return f.Message + ": " + f.Err.Error()
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }
