package mtproto

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"
)

// shareOf returns which of the connectors belong to owner, when all of listeners (owner among them) share them. Each connector prefers the
// listeners in an order of its own, by a hash of both names (rendezvous hashing), and goes to the first that has room: nobody has more
// than an even share, rounded up. All listeners that know the same names come to the same result; one more or one fewer moves little
// more than its share.
func shareOf(owner string, listeners, connectors []string) map[string]bool {
	mine := map[string]bool{}
	if len(listeners) == 0 {
		return mine
	}
	room := (len(connectors) + len(listeners) - 1) / len(listeners)
	taken := map[string]int{}
	for _, connector := range slices.Sorted(slices.Values(connectors)) {
		for _, listener := range byPreference(connector, listeners) {
			if taken[listener] == room {
				continue
			}
			taken[listener]++
			if listener == owner {
				mine[connector] = true
			}
			break
		}
	}
	return mine
}

// byPreference returns listeners in the order in which connector prefers them.
func byPreference(connector string, listeners []string) []string {
	ordered := slices.Clone(listeners)
	slices.SortFunc(ordered, func(a, b string) int {
		return cmp.Or(cmp.Compare(weight(connector, b), weight(connector, a)), cmp.Compare(a, b))
	})
	return ordered
}

func weight(connector, listener string) uint64 {
	h := fnv.New128a()
	_, _ = h.Write([]byte(connector))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(listener))
	sum := h.Sum(nil)
	return binary.BigEndian.Uint64(sum) ^ binary.BigEndian.Uint64(sum[8:])
}
