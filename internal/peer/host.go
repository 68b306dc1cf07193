package peer

import "strings"

// Private reports whether a Host header holds no name of the public DNS, which its
// owner could point at any machine, so that a page of his would ask there as its own
// site. Private are an empty header and an address, localhost and what is beneath
// it, and what nobody but the machine's own network can resolve: names of one word,
// such as those of containers and of a proxy's upstreams, and those beneath
// .internal, such as host.docker.internal.
func Private(host string) bool {
	name, _, _ := strings.Cut(host, ":")
	last := name[strings.LastIndexByte(name, '.')+1:]
	if last == name && !strings.HasPrefix(name, "[") || strings.EqualFold(last, "localhost") || strings.EqualFold(last, "internal") {
		return true
	}
	_, address := Parse(host)
	return address
}
