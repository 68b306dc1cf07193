// Package config decides what the gateway runs with: it turns defaults, one
// YAML file, the environment and the command line's flags into one checked,
// typed Config.
//
// # Model
//
// Every setting has a path, such as upstreams.main.quota.requests. Four layers
// write to paths, each over the one before: defaults, the file, the
// environment, flags. The environment reaches every scalar as
// MILLRACE_UPSTREAMS_MAIN_QUOTA_REQUESTS, and the default upstream (the first)
// through the shorter names of the applications Millrace grew out of, such as
// MAX_REQUESTS_PER_MINUTE. Where neither file nor environment names an
// upstream, the default one is the built-in simulator; OPENAI_API_KEY or
// OPENAI_BASE_URL make it that endpoint.
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
//   - I3 A Secret never appears in an output: not through fmt, JSON, YAML, text
//     or slog, not in a fault and not in the excerpt of the file under it.
//   - I4 A Config that Load returns has passed every check: names resolve,
//     rates and times are positive, the listener is loopback.
//   - I5 No input makes Load panic.
//
// # Concurrency
//
// Load is called once, by one goroutine. A Config is not changed afterwards and
// may be read by many.
//
// # Failure
//
// Load returns errors.Join of *Fault and nothing else but errors from reading
// the file. There is no partial Config.
//
// # Not here
//
// What the values do: package app turns them into the options of each part.
// No other package reads the environment.
package config
