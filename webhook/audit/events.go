package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/flowcontrol"
)

const (
	// eventsAtOnce and eventsPerSecond bound the Events of the audit: a cluster may hold thousands of objects with
	// findings when drawbridge comes. Who is not told now is told after a later run.
	eventsAtOnce    = 100
	eventsPerSecond = 0.2
	// maxNote is what is used of the 1024 bytes that the API server takes.
	maxNote = 1000
)

// The reasons of Events.
const (
	reasonDenied = "WouldBeDenied"
	reasonWarned = "WouldBeWarned"
)

// teller tells of findings by Events on the objects: one for an object, and again only when it has a finding that it
// was not told of.
type teller struct {
	recorder events.EventRecorder
	limiter  flowcontrol.PassiveRateLimiter
	told     map[types.UID][]aspect
}

// aspect is what counts as one finding here: the same rule may find fault with many fields.
type aspect struct{ level, rule string }

func newTeller(recorder events.EventRecorder) *teller {
	return &teller{
		recorder: recorder, told: map[types.UID][]aspect{},
		limiter: flowcontrol.NewTokenBucketPassiveRateLimiter(eventsPerSecond, eventsAtOnce),
	}
}

type telling struct {
	*subject
	aspects []aspect
	denied  bool
	// turn is how many of its namespace come before it, so that one full of findings does not take every Event.
	turn int
}

// tell makes the Events of a run, and tells how many there were, and how many objects have to wait for a later one.
func (t *teller) tell(subjects []subject) (sent, waiting int) {
	still := make(map[types.UID][]aspect, len(subjects))
	var news []telling
	for i := range subjects {
		s := &subjects[i]
		aspects, denied := aspectsOf(s)
		if len(aspects) == 0 || s.object.GetDeletionTimestamp() != nil {
			continue
		}
		// What it was told of and has still; what was mended and comes back is news.
		before := slices.DeleteFunc(slices.Clone(t.told[s.object.GetUID()]), func(a aspect) bool { return !slices.Contains(aspects, a) })
		if len(before) > 0 {
			still[s.object.GetUID()] = before
		}
		if len(before) < len(aspects) {
			news = append(news, telling{subject: s, aspects: aspects, denied: denied})
		}
	}
	t.told = still
	inTurn(news)
	for i := range news {
		if !t.limiter.TryAccept() {
			return sent, len(news) - i
		}
		n := &news[i]
		reason := reasonWarned
		if n.denied {
			reason = reasonDenied
		}
		t.recorder.Eventf(n.object, nil, corev1.EventTypeWarning, reason, "Audit", "%s", note(n.subject))
		t.told[n.object.GetUID()] = n.aspects
		sent++
	}
	return sent, 0
}

// inTurn puts the objects with denials first, and lets the namespaces take turns.
func inTurn(news []telling) {
	type line struct {
		namespace string
		denied    bool
	}
	next := map[line]int{}
	for i := range news {
		l := line{news[i].object.GetNamespace(), news[i].denied}
		news[i].turn = next[l]
		next[l]++
	}
	slices.SortStableFunc(news, func(a, b telling) int {
		if a.denied != b.denied {
			if a.denied {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.turn, b.turn), cmp.Compare(a.object.GetNamespace(), b.object.GetNamespace()))
	})
}

// aspectsOf are those of the findings that count: who exempted an object knows.
func aspectsOf(s *subject) (aspects []aspect, denied bool) {
	for _, f := range s.found {
		if f.level == levelExempt {
			continue
		}
		denied = denied || f.level == levelDeny
		if a := (aspect{f.level, f.Rule}); !slices.Contains(aspects, a) {
			aspects = append(aspects, a)
		}
	}
	return aspects, denied
}

// note is the text of an Event: the findings that fit, the worst first, and how many there are beside.
func note(s *subject) string {
	var b strings.Builder
	b.WriteString("as it is stored now: ")
	listed, all := 0, s.more
	for _, f := range s.found {
		if f.level != levelExempt {
			all++
		}
	}
	for _, f := range s.found {
		if f.level == levelExempt {
			continue
		}
		message := strings.ToValidUTF8(f.Message(), string(utf8.RuneError))
		if listed > 0 && b.Len()+len(message) > maxNote-40 {
			break
		}
		if listed > 0 {
			b.WriteString("; ")
		}
		b.WriteString(message)
		listed++
	}
	text := b.String()
	if all > listed {
		text += fmt.Sprintf("; and %d more", all-listed)
	}
	return shortened(text)
}

// shortened keeps a note within what the API server takes. A message of four-byte characters is long in bytes.
func shortened(text string) string {
	if len(text) <= maxNote {
		return text
	}
	return strings.ToValidUTF8(text[:maxNote-len("…")], "") + "…"
}
