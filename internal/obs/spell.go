package obs

import "time"

// spellEvery is how often a trouble that lasts is told again.
const spellEvery = time.Minute

// Spell says when a trouble that is met again and again is worth a line in the log: when it begins, once a minute while it lasts, and
// when it has ended. It belongs to one goroutine; the zero Spell is ready for use.
type Spell struct{ since, told time.Time }

// Note takes in whether the trouble was met. It returns whether to tell so now, and for how long the trouble has lasted.
func (s *Spell) Note(met bool) (tell bool, lasted time.Duration) {
	if !s.since.IsZero() {
		lasted = time.Since(s.since)
	}
	switch {
	case !met:
		tell = !s.since.IsZero()
		*s = Spell{}
	case s.since.IsZero() || time.Since(s.told) >= spellEvery:
		tell = true
		s.told = time.Now()
		if s.since.IsZero() {
			s.since = s.told
		}
	}
	return tell, lasted
}
