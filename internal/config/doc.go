// Package config decides what the gateway runs with: it turns defaults, the YAML
// file, the file of keys, the environment and flags into one checked Config.
//
// # Model
//
// Every setting has a path, such as upstreams.main.quota.requests. Four layers
// write to paths, each over the one before: defaults, the files, the
// environment, flags. The environment reaches every scalar as
// MILLRACE_UPSTREAMS_MAIN_QUOTA_REQUESTS, flags as --set PATH=VALUE, and shorter
// names such as MAX_REQUESTS_PER_MINUTE mean the first upstream, a class or all
// endpoints. Where no file names an upstream, the default one is the built-in
// simulator, or OpenAI's endpoint with OPENAI_API_KEY or OPENAI_BASE_URL. The
// tags of Config say what each key is called, takes and means: the loader, the
// JSON Schema and the guide's table are made from them.
//
// Each value remembers the layer it came from (Origin), and each fault names
// that place, what is wrong there and how to mend it. All faults are reported
// at once, not the first.
//
// # Invariants
//
//   - I1 Precedence: a flag beats the environment, which beats the file, which
//     beats the default, for every path.
//   - I2 Strict: a blank, zero (where zero has no sense), unknown or
//     contradictory value is a fault; nothing is guessed or dropped silently.
//   - I3 A Secret or a caller's key never appears in an output: not through fmt,
//     JSON, YAML, text or slog, not in a fault nor in the excerpt under it.
//   - I4 A Config that Load returns has passed every check: names resolve, rates
//     and times are positive, and without keys every listener is on loopback.
//   - I5 No input makes Load panic.
//
// # Concurrency
//
// Load may be called at any time, for a start or a reload. A Config is not
// changed afterwards and may be read by many goroutines.
//
// # Failure
//
// Load returns errors.Join of *Fault and nothing else but errors from reading
// the file. There is no partial Config; LoadKeys alone forgives other sections.
//
// # Not here
//
// What the values do: package app turns them into the options of each part.
// No other package reads the environment.
package config
