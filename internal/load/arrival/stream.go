package arrival

import "math/rand/v2"

// Stream is the random stream of one loop. The words are mixed because
// neighboring seeds of a PCG begin alike.
func Stream(seed uint64, user, loop int) *rand.Rand {
	return rand.New(rand.NewPCG(mix(seed), mix(seed^mix(uint64(user)<<32|uint64(uint32(loop))))))
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
