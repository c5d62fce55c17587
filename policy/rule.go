// Package policy judges Kubernetes objects that reach for something outside the cluster.
//
// A [Rule] is a value: its text, its levels and a check that reports findings, each with a fix where one answer is
// right. [Book.Review] runs the rules of an object's kind and says what is denied, warned of and fixed. Admission,
// the command line and the proxy call the same Review, so that they can not disagree.
package policy

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Object is any Kubernetes object; Review judges *corev1.Service, *corev1.Endpoints, *discoveryv1.EndpointSlice,
// *networkingv1.Ingress, and *corev1.ConfigMap as the one that holds the policy; it lets every other kind pass.
type Object interface {
	runtime.Object
	metav1.Object
}

// Level says what becomes of a finding. The zero value means "not said".
type Level uint8

// The levels, from the mildest on. Fix mends the object where the finding carries a fix, and falls back to the
// rule's Unfixed level where it does not.
const (
	Off Level = iota + 1
	Warn
	Deny
	Fix
)

var levelNames = [...]string{"", "off", "warn", "deny", "fix"}

func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return fmt.Sprintf("level(%d)", uint8(l))
}

// MarshalText writes the level as the policy and the JSON output spell it: off, warn, deny, fix.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads what MarshalText writes, and refuses everything else.
func (l *Level) UnmarshalText(text []byte) error {
	for i := Off; i <= Fix; i++ {
		if levelNames[i] == string(text) {
			*l = i
			return nil
		}
	}
	return fmt.Errorf("unknown level %q: must be 'off', 'warn', 'deny' or 'fix'", text)
}

// Levels holds a rule's level in each profile.
type Levels struct{ Baseline, Strict Level }

// Same gives one level to both profiles.
func Same(l Level) Levels { return Levels{Baseline: l, Strict: l} }

// Doc is a rule's text, from which `drawbridge rules` and policy/README.md are made.
type Doc struct {
	Summary string // one sentence: "A Service must ..."
	Why     string // what goes wrong otherwise, in a paragraph
	Bad     string // YAML that the rule finds fault with
	Good    string // YAML to write instead
	Since   string // the version that brought the rule
	Source  string // the Kubernetes documentation, code or report that the rule rests on
}

// Rule is one requirement on one kind of object.
type Rule[T Object] struct {
	// ID names the rule in its file, the policy, metrics and documentation; an ID is never reused. A requirement
	// that shows on two kinds is two Rules with one ID and one Doc.
	ID     string
	Doc    Doc
	Levels Levels
	// Milder are the levels of what Pass.Mild reports; the zero value means Levels. A level that the policy names counts
	// for both.
	Milder Levels
	// Unfixed is the level of a finding without a fix where the level in force is Fix; zero means Warn.
	Unfixed Level
	// Guard marks a risk rather than a mistake: an author can not exempt his own object from it.
	Guard bool
	// Status marks a rule that judges writes of the status subresource, and nothing else.
	Status bool
	// Injects is what its fixes write, one of Injections, so that the policy can forbid it; empty for what it can not.
	Injects string
	// Check reports findings on the Pass; it changes neither the object nor the World.
	Check func(*Pass[T])
}

// Pass is one run of one rule over one object.
type Pass[T Object] struct {
	// Object is the object as the rules before this one mended it.
	Object T
	// Old is the object before an update, nil on creation and for files.
	Old T
	// World shows the other objects.
	World World
	// Config is the policy in force.
	Config *Config
	// Stored tells that the object is already in a cluster and who wrote it is not known.
	Stored bool
	// User is who writes, empty where it is not known.
	User string
	// Known tells whether there is a rule of an ID; it is set for rules about the policy alone.
	Known func(id string) bool

	reports []report[T]
	awaits  []string
}

type report[T Object] struct {
	err *field.Error
	fix func(T)
	// grade chooses among the levels of the rule.
	grade grade
}

type grade uint8

const (
	asRule grade = iota
	milder
	atMostWarn
)

// Report adds a finding. fix mends a copy of the object in place: it sets an empty field or appends to a list, never
// removes, reorders or overwrites what a person wrote, and leaves nothing for the rule to find. It is nil where no
// single answer is right.
func (p *Pass[T]) Report(err *field.Error, fix func(T)) {
	p.reports = append(p.reports, report[T]{err: err, fix: fix})
}

// Warn adds a finding that is at most a warning, whatever the level of its rule.
func (p *Pass[T]) Warn(err *field.Error) {
	p.reports = append(p.reports, report[T]{err: err, grade: atMostWarn})
}

// Mild adds a finding whose level is that of Rule.Milder: what is a risk only together with something else, and is
// therefore denied where the policy is strict.
func (p *Pass[T]) Mild(err *field.Error, fix func(T)) {
	p.reports = append(p.reports, report[T]{err: err, fix: fix, grade: milder})
}

// Await tells that the rule can not judge the object before another one is known, and that it might find something to
// mend then. kind and name are those of the missing one, in the object's namespace.
func (p *Pass[T]) Await(kind, name string) {
	p.awaits = append(p.awaits, kind+"/"+name)
}

// Book is every rule there is, by the kind of object that it judges, in the order in which they run.
type Book struct {
	Services       []Rule[*corev1.Service]
	Endpoints      []Rule[*corev1.Endpoints]
	EndpointSlices []Rule[*discoveryv1.EndpointSlice]
	Ingresses      []Rule[*networkingv1.Ingress]
	// ConfigMaps judge the ConfigMap that holds the policy; Review is to be given no other.
	ConfigMaps []Rule[*corev1.ConfigMap]
}

// ConfigMapName is the name of the ConfigMap that holds the policy, where nothing else is said, and ConfigMapKey the key
// in it.
const (
	ConfigMapName = "drawbridge-policy"
	ConfigMapKey  = "policy.yaml"
)

// Info is what is known of a rule beside its check.
type Info struct {
	ID      string
	Kinds   []string // the kinds of object that it judges
	Doc     Doc
	Levels  Levels
	Milder  Levels // zero where the rule has one level
	Unfixed Level
	Guard   bool
	Status  bool
	Injects string
}

// Infos lists the rules of the book, one entry an ID, in the order of the book.
func (b Book) Infos() []Info {
	var infos []Info
	infos = addInfos(infos, "Service", b.Services)
	infos = addInfos(infos, "Endpoints", b.Endpoints)
	infos = addInfos(infos, "EndpointSlice", b.EndpointSlices)
	infos = addInfos(infos, "Ingress", b.Ingresses)
	infos = addInfos(infos, "ConfigMap", b.ConfigMaps)
	return infos
}

// Known tells whether there is a rule of an ID.
func (b Book) Known(id string) bool {
	return has(b.Services, id) || has(b.Endpoints, id) || has(b.EndpointSlices, id) || has(b.Ingresses, id) || has(b.ConfigMaps, id)
}

func has[T Object](rules []Rule[T], id string) bool {
	return slices.ContainsFunc(rules, func(r Rule[T]) bool { return r.ID == id })
}

func addInfos[T Object](infos []Info, kind string, rules []Rule[T]) []Info {
next:
	for _, r := range rules {
		for i := range infos {
			if infos[i].ID == r.ID {
				infos[i].Kinds = append(infos[i].Kinds, kind)
				continue next
			}
		}
		infos = append(infos, Info{ID: r.ID, Kinds: []string{kind}, Doc: r.Doc, Levels: r.Levels, Milder: r.Milder,
			Unfixed: r.unfixed(), Guard: r.Guard, Status: r.Status, Injects: r.Injects})
	}
	return infos
}

func (r Rule[T]) unfixed() Level {
	if r.Unfixed == 0 {
		return Warn
	}
	return r.Unfixed
}
